"""The service as a process of its own: `python -m bench.service JSON`. It prints its port once it serves."""

import json
import sys
from functools import partial

from kling_relay.app import wiring
from kling_relay.app.commands import run
from kling_relay.flows.ingest import Ingest
from kling_relay.settings import Settings


def main() -> None:
    """Serve until SIGTERM; with `coalesce` false, every callback is a transaction of its own."""
    options = json.loads(sys.argv[1])
    if not options["coalesce"]:
        # not a setting, since it would only ever make the service slower: it exists for this comparison
        vars(wiring)["Ingest"] = partial(Ingest, coalesce=False)
    settings = Settings(**options["settings"])
    run(settings, options["role"], lambda _, bound: print(json.dumps({"port": bound.port}), flush=True))


if __name__ == "__main__":
    main()
