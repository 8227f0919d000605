"""The service as a process of its own: `python -m bench.service JSON`. It prints its port once it serves."""

import json
import sys

from kling_relay.app.commands import run
from kling_relay.app.wiring import Tunables
from kling_relay.flows.ingest import IngestTunables
from kling_relay.settings import Settings


def main() -> None:
    """Serve until SIGTERM; with `coalesce` false, every callback is a transaction of its own."""
    options = json.loads(sys.argv[1])
    tunables = Tunables() if options["coalesce"] else Tunables(ingest=IngestTunables(max_batch=1))
    settings = Settings(**options["settings"])
    run(settings, options["role"], lambda _, bound: print(json.dumps({"port": bound.port}), flush=True), tunables)


if __name__ == "__main__":
    main()
