"""Metrics, logs and traces. They implement `flows.observer.Observer`, so that no flow knows them."""

import sys

if "structlog" not in sys.modules and "rich" not in sys.modules:
    # structlog imports rich and Pygments, which take 6 MB, for tracebacks that show locals; our logs have plain ones
    sys.modules["rich"] = None  # type: ignore[assignment]  # the import system's mark for "there is none"
    import structlog as structlog

    del sys.modules["rich"]
