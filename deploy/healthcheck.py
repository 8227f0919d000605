#!/usr/bin/env python3
"""The image's HEALTHCHECK: status 0 where this container's role answers /livez, on its own port or its metrics port.

Standard library alone and nothing of the service imported: it runs every few seconds and must cost nothing.
"""

import http.client
import os
import sys

PATIENCE = 2.0
"""Seconds for each of the two ports."""


def answers(port: int) -> bool:
    """Whether /livez on `port` of this host is answered with 200."""
    connection = http.client.HTTPConnection("localhost", port, timeout=PATIENCE)
    try:
        connection.request("GET", "/livez")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    # Not kling_relay.settings: reading all settings costs a hundred times what asking costs.
    ports = [int(os.environ[name]) for name in ("RELAY_PORT", "RELAY_METRICS_PORT")]  # noqa: TID251 - it runs beside the service, not in it
    sys.exit(not any(answers(port) for port in ports))
