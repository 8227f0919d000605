"""One thing happens, several hear of it: flows take one callable, and log and metrics are two."""

from collections.abc import Callable
from typing import ParamSpec

Told = ParamSpec("Told")


def both(*hear: Callable[Told, object]) -> Callable[Told, None]:
    """Return a callable that tells each of `hear`, in order."""

    def tell(*args: Told.args, **named: Told.kwargs) -> None:
        for each in hear:
            each(*args, **named)

    return tell
