"""Tests wait for facts, not for times. This is the one place that polls."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, overload

Fact = TypeVar("Fact")

_POLL_INTERVAL = 0.01


@overload
async def eventually(fact: Callable[[], Awaitable[Fact]], within: float = 10.0) -> Fact: ...
@overload
async def eventually(fact: Callable[[], Fact], within: float = 10.0) -> Fact: ...
async def eventually(fact: Callable[[], Any], within: float = 10.0) -> Any:
    """Return the value of `fact` as soon as it is truthy; fail with its last value after `within` seconds.

    An AssertionError inside `fact` counts as "not yet", and becomes the cause of the failure if it persists.
    """
    deadline = time.monotonic() + within
    while True:
        reason: AssertionError | None = None
        value: Any = None
        try:
            value = fact()
            if inspect.isawaitable(value):
                value = await value
            if value:
                return value
        except AssertionError as error:
            reason = error
        if time.monotonic() > deadline:
            raise AssertionError(
                f"It did not become true within {within:g} s; the last value was {value!r}"
            ) from reason
        await asyncio.sleep(_POLL_INTERVAL)


async def remains(fact: Callable[[], bool], during: float) -> None:
    """Fail as soon as `fact` is false within the next `during` seconds: nothing happens that would make it so."""
    deadline = time.monotonic() + during
    while time.monotonic() < deadline:
        assert fact(), f"It was true, but not for {during:g} s"
        await asyncio.sleep(_POLL_INTERVAL)
