"""The blocking client: every method of `Relay`, run in a thread.

The signatures are those of `Relay`, for the type checker too, so the two cannot differ.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from concurrent.futures import CancelledError
from functools import wraps
from threading import Lock, Thread
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from kling_relay.client.relay import Relay

P = ParamSpec("P")
T = TypeVar("T")


def _blocking(
    method: Callable[Concatenate[Relay, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate["SyncRelay", P], T]:
    """Return a blocking version of a method of Relay."""

    @wraps(method)
    def blocking(self: "SyncRelay", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self.run(method(self.relay, *args, **kwargs))

    return blocking


def _iterating(
    method: Callable[Concatenate[Relay, P], AsyncGenerator[T, None]],
) -> Callable[Concatenate["SyncRelay", P], Iterator[T]]:
    """Return an iterator version of a generator method of Relay. Closing the iterator closes the generator."""

    @wraps(method)
    def iterating(self: "SyncRelay", /, *args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        items = method(self.relay, *args, **kwargs)

        async def next_item() -> tuple[T] | None:
            try:
                return (await anext(items),)
            except StopAsyncIteration:
                return None

        async def close() -> None:
            await items.aclose()

        try:
            while item := self.run(next_item()):
                yield item[0]
        finally:
            self.run(close())

    return iterating


class SyncRelay:
    """`Relay` for programs without asyncio. Close it, or use it in a `with` block. Threads may share it.

    The first call starts its thread, so a process may fork before that.
    """

    def __init__(self, url: str = "http://127.0.0.1:8080", key: str | None = None, **options: Any) -> None:
        """Take the arguments of Relay."""
        self.relay = Relay(url, key, **options)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the thread and return its result. Ctrl-C cancels it."""
        future = asyncio.run_coroutine_threadsafe(work, self._started_loop())
        try:
            return future.result()
        except (KeyboardInterrupt, CancelledError):
            future.cancel()
            raise

    def close(self) -> None:
        """Close the connections and end the thread. The next call starts both again."""
        with self._lock:
            loop, self._loop = self._loop, None
        if loop is not None:
            asyncio.run_coroutine_threadsafe(self.relay.close(), loop).result()
            loop.call_soon_threadsafe(loop.stop)

    def _started_loop(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                Thread(target=_run_loop, args=(self._loop,), name="kling-relay client", daemon=True).start()
            return self._loop

    submit = _blocking(Relay.submit)
    text_to_image = _blocking(Relay.text_to_image)
    image_to_image = _blocking(Relay.image_to_image)
    text_to_video = _blocking(Relay.text_to_video)
    image_to_video = _blocking(Relay.image_to_video)
    quote = _blocking(Relay.quote)
    task = _blocking(Relay.task)
    wait = _blocking(Relay.wait)
    tasks = _iterating(Relay.tasks)
    history = _blocking(Relay.history)
    callbacks = _blocking(Relay.callbacks)
    events = _iterating(Relay.events)
    stream = _iterating(Relay.stream)
    subscribe = _blocking(Relay.subscribe)
    subscriptions = _iterating(Relay.subscriptions)
    subscription = _blocking(Relay.subscription)
    change_subscription = _blocking(Relay.change_subscription)
    unsubscribe = _blocking(Relay.unsubscribe)
    test_subscription = _blocking(Relay.test_subscription)
    pause = _blocking(Relay.pause)
    resume = _blocking(Relay.resume)
    rotate_secret = _blocking(Relay.rotate_secret)
    replay = _blocking(Relay.replay)
    hook_secret = _blocking(Relay.hook_secret)
    deliveries = _iterating(Relay.deliveries)
    delivery = _blocking(Relay.delivery)
    retry_delivery = _blocking(Relay.retry_delivery)
    retry_deliveries = _blocking(Relay.retry_deliveries)
    usage = _blocking(Relay.usage)
    budget = _blocking(Relay.budget)
    prices = _blocking(Relay.prices)


def _run_loop(loop: asyncio.AbstractEventLoop) -> None:
    """Run a loop until it is stopped, and close it."""
    try:
        loop.run_forever()
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
