"""The sandbox as one object: start it on a port or mount its application, and read and change it from a test."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal

from aiohttp import web

from kling_relay.sandbox.callback_sender import CallbackSender, CurrentProfile
from kling_relay.sandbox.control import Control
from kling_relay.sandbox.gateway import Gateway
from kling_relay.sandbox.lifecycle import Lifecycle
from kling_relay.sandbox.profile import Profile, RandomSource
from kling_relay.sandbox.results import serve
from kling_relay.sandbox.state import LedgerEntry, ReceivedRequest, SentCallback, State, Task

_MAX_BODY = 32 * 1024 * 1024


class Sandbox:
    """A provider that behaves, and misbehaves, like the real one; a test can read and change all its state."""

    def __init__(
        self, profile: Profile, *, now: Callable[[], datetime], rng: RandomSource, public_url: str | None = None
    ) -> None:
        """`now` returns aware UTC, `rng` is a seeded random.Random, and result addresses start with `public_url`."""
        self._current = CurrentProfile(profile)
        self._state = State(profile.balance, profile.keep, now())
        self._sender = CallbackSender(current=self._current, state=self._state, now=now, rng=rng)
        self._lifecycle = Lifecycle(current=self._current, state=self._state, sender=self._sender, now=now, rng=rng)
        self._gateway = Gateway(
            current=self._current,
            state=self._state,
            lifecycle=self._lifecycle,
            now=now,
            rng=rng,
            url=(public_url or "").rstrip("/"),
        )
        self._control = Control(current=self._current, state=self._state, lifecycle=self._lifecycle, now=now)
        self._callbacks = profile.callbacks
        self._runner: web.AppRunner | None = None
        self._app = self._make_app()

    @property
    def app(self) -> web.Application:
        return self._app

    @property
    def profile(self) -> Profile:
        return self._current.profile

    @profile.setter
    def profile(self, profile: Profile) -> None:
        """Replace the profile while the sandbox runs; balance, keep and connections are only read at the start."""
        self._current.profile = profile

    @property
    def tasks(self) -> Mapping[str, Task]:
        """The tasks by id, oldest first."""
        return self._state.tasks

    @property
    def ledger(self) -> Sequence[LedgerEntry]:
        return self._state.ledger

    @property
    def callbacks(self) -> Sequence[SentCallback]:
        """Every callback sent or lost, oldest first; copies and retries are listed too."""
        return self._state.callbacks

    @property
    def requests(self) -> Sequence[ReceivedRequest]:
        """Every request to the provider's API, refused or not, oldest first."""
        return self._state.requests

    @property
    def balance(self) -> Decimal:
        return self._state.balance

    @property
    def spent(self) -> Decimal:
        return self._state.spent

    @property
    def slots_held(self) -> int:
        return self._state.slots_held

    def task(self, key: str) -> Task:
        """Return the task with this task_id or external_task_id; raise KeyError if there is none."""
        task = self._state.find(key)
        if task is None:
            raise KeyError(key)
        return task

    def turn_to_processing(self, key: str) -> None:
        """Move a submitted task to processing, where only `finish` or `fail` end it; raise ValueError if it moved."""
        self._lifecycle.turn_to_processing(self.task(key))

    def finish(self, key: str) -> None:
        """Let a task succeed now; raise ValueError if it has ended already."""
        self._lifecycle.finish(self.task(key))

    def fail(self, key: str, reason: str = "") -> None:
        """Let a task fail now; raise ValueError if it has ended already."""
        self._lifecycle.fail(self.task(key), reason)

    def call_back(self, key: str, status: str | None = None) -> None:
        """Send a callback now, with the true status or with the given one."""
        task = self.task(key)
        self._lifecycle.call_back(task, status or task.status)

    def mute(self) -> None:
        """Turn callbacks off: none are sent, and none are kept for later."""
        self._callbacks = self._current.profile.callbacks or self._callbacks
        self._current.profile = replace(self._current.profile, callbacks=())

    def unmute(self) -> None:
        """Turn callbacks on again for the statuses that had them before."""
        self._current.profile = replace(self._current.profile, callbacks=self._callbacks)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Return once `condition` holds; it is checked at each request, change and callback, so no test need sleep."""
        await self._state.until(condition)

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> str:
        """Listen and return the base URL, with the actual port; raise OSError if the port is taken."""
        self._runner = web.AppRunner(self._app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, host, port).start()
        except OSError:
            await self.stop()
            raise
        url_host = f"[{host}]" if ":" in host else host
        base = f"http://{url_host}:{self._runner.addresses[0][1]}"
        self._gateway.url = self._gateway.url or base
        return base

    async def stop(self) -> None:
        """Stop listening; drop timers, waiting answers and callbacks. A stopped sandbox cannot start again."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def _make_app(self) -> web.Application:
        app = web.Application(client_max_size=_MAX_BODY)
        app.add_routes(self._control.routes())
        app.router.add_get("/sandbox/results/{name:.+}", serve)
        app.add_routes(self._gateway.routes())
        app.on_startup.append(self._open)
        app.on_shutdown.append(self._release)
        app.on_cleanup.append(self._close)
        return app

    async def _open(self, _: web.Application) -> None:
        await self._sender.open()

    async def _release(self, _: web.Application) -> None:
        """End the requests that are kept waiting, so that the server can close its connections."""
        self._lifecycle.close()
        self._gateway.closing.set()
        self._state.changed()

    async def _close(self, _: web.Application) -> None:
        await self._sender.close()
