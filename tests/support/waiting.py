"""Tests wait for a fact, never for a time; here is the one place that looks again and again."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, overload

Fact = TypeVar("Fact")

_LOOK_EVERY = 0.01


@overload
async def eventually(fact: Callable[[], Awaitable[Fact]], within: float = 10.0) -> Fact: ...
@overload
async def eventually(fact: Callable[[], Fact], within: float = 10.0) -> Fact: ...
async def eventually(fact: Callable[[], Any], within: float = 10.0) -> Any:
    """Return what `fact` says as soon as it is truthy; fail with what it said last after `within` seconds.

    An AssertionError inside `fact` counts as "not yet", and is the failure's cause if it stays.
    """
    deadline = time.monotonic() + within
    while True:
        reason: AssertionError | None = None
        said: Any = None
        try:
            found = fact()
            said = await found if inspect.isawaitable(found) else found
            if said:
                return said
        except AssertionError as error:
            reason = error
        if time.monotonic() > deadline:
            raise AssertionError(f"It did not come true within {within:g} s; last seen: {said!r}") from reason
        await asyncio.sleep(_LOOK_EVERY)
