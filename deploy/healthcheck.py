#!/usr/bin/env python3
"""The image's HEALTHCHECK: exits with 0 if /livez answers on the port or the metrics port of this container.

It runs every few seconds, so it imports only the standard library.
"""

import http.client
import os
import sys

TIMEOUT = 2.0
"""Seconds for each of the two ports."""


def answers(port: int) -> bool:
    """Return whether /livez on `port` of this host answers 200."""
    connection = http.client.HTTPConnection("localhost", port, timeout=TIMEOUT)
    try:
        connection.request("GET", "/livez")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    # Not kling_relay.settings: reading all settings costs a hundred times as much as the request.
    ports = [int(os.environ[name]) for name in ("RELAY_PORT", "RELAY_METRICS_PORT")]  # noqa: TID251 - it runs beside the service, not in it
    sys.exit(not any(answers(port) for port in ports))
