"""The service as a process of its own: `python -m bench.service JSON`, which says its port once it serves."""

import json
import sys
from functools import partial

from kling_relay.app import wiring
from kling_relay.app.commands import run
from kling_relay.flows.ingest import Ingest
from kling_relay.settings import Settings


def main() -> None:
    """Serve until SIGTERM; with `coalesce` false every callback is a transaction of its own."""
    said = json.loads(sys.argv[1])
    if not said["coalesce"]:
        # there is no such setting, since nobody would want it: it exists to be compared with
        vars(wiring)["Ingest"] = partial(Ingest, coalesce=False)
    settings = Settings(**said["settings"])
    run(settings, said["role"], lambda _, real: print(json.dumps({"port": real.port}), flush=True))


if __name__ == "__main__":
    main()
