"""The sandbox as one value: started on a port, or mounted as an application, and open to tests in process."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal

from aiohttp import web

from kling_relay.sandbox.callback_sender import Courier, Mood
from kling_relay.sandbox.control import Control
from kling_relay.sandbox.gateway import Gateway
from kling_relay.sandbox.lifecycle import Life
from kling_relay.sandbox.profile import Chance, Temper
from kling_relay.sandbox.results import serve
from kling_relay.sandbox.state import Entry, Heard, Record, Sent, Task

_MAX_BODY = 32 * 1024 * 1024


class Sandbox:
    """A provider that behaves, and misbehaves, like the real one; everything it knows can be read and changed."""

    def __init__(
        self, temper: Temper, *, now: Callable[[], datetime], chance: Chance, public_url: str | None = None
    ) -> None:
        """Take the present (aware UTC) and a seeded random.Random; `public_url` is what result addresses begin with."""
        self._mood = Mood(temper)
        self._record = Record(temper.balance, temper.keep, now())
        self._courier = Courier(mood=self._mood, record=self._record, now=now, chance=chance)
        self._life = Life(mood=self._mood, record=self._record, courier=self._courier, now=now, chance=chance)
        self._gateway = Gateway(
            mood=self._mood,
            record=self._record,
            life=self._life,
            now=now,
            chance=chance,
            url=(public_url or "").rstrip("/"),
        )
        self._control = Control(mood=self._mood, record=self._record, life=self._life, now=now)
        self._callbacks = temper.callbacks
        self._runner: web.AppRunner | None = None
        self._app = self._make_app()

    @property
    def app(self) -> web.Application:
        return self._app

    @property
    def temper(self) -> Temper:
        return self._mood.temper

    @temper.setter
    def temper(self, temper: Temper) -> None:
        """Change the knobs while it runs; balance, keep and connections are only read at the start."""
        self._mood.temper = temper

    @property
    def tasks(self) -> Mapping[str, Task]:
        """The tasks by id, oldest first: the truth that everybody else must come to agree with."""
        return self._record.tasks

    @property
    def ledger(self) -> Sequence[Entry]:
        return self._record.ledger

    @property
    def sent(self) -> Sequence[Sent]:
        """The callbacks, lost ones too, oldest first; a copy or a retry is one more."""
        return self._record.sent

    @property
    def heard(self) -> Sequence[Heard]:
        """The requests to the provider's API, refused ones too, oldest first."""
        return self._record.heard

    @property
    def balance(self) -> Decimal:
        return self._record.balance

    @property
    def spent(self) -> Decimal:
        return self._record.spent

    @property
    def slots_held(self) -> int:
        return self._record.slots_held

    def task(self, key: str) -> Task:
        """Return the task of that task_id or external_task_id; KeyError where there is none."""
        task = self._record.find(key)
        if task is None:
            raise KeyError(key)
        return task

    def turn_to_processing(self, key: str) -> None:
        """Move a submitted task on now; it then ends only by `finish` or `fail`. ValueError where it is further."""
        self._life.turn_to_processing(self.task(key))

    def finish(self, key: str) -> None:
        """Let a task succeed now; ValueError where it is final already."""
        self._life.finish(self.task(key))

    def fail(self, key: str, reason: str = "") -> None:
        """Let a task fail now; ValueError where it is final already."""
        self._life.fail(self.task(key), reason)

    def call_back(self, key: str, status: str | None = None) -> None:
        """Send a callback now: what is true, or the status given, be it true or not."""
        task = self.task(key)
        self._life.repeat(task, status or task.status)

    def mute(self) -> None:
        """Turn callbacks off: nothing is sent, nothing is kept for later."""
        self._callbacks = self._mood.temper.callbacks or self._callbacks
        self._mood.temper = replace(self._mood.temper, callbacks=())

    def unmute(self) -> None:
        """Turn callbacks on again, for the statuses that had them."""
        self._mood.temper = replace(self._mood.temper, callbacks=self._callbacks)

    async def until(self, fact: Callable[[], bool]) -> None:
        """Return once `fact` holds, asking at each request, change and callback: how a test waits without sleeping."""
        await self._record.until(fact)

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> str:
        """Listen, and return the base URL with the port that was given; OSError where the port is taken."""
        self._runner = web.AppRunner(self._app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, host, port).start()
        except OSError:
            await self.stop()
            raise
        shown = f"[{host}]" if ":" in host else host
        base = f"http://{shown}:{self._runner.addresses[0][1]}"
        self._gateway.url = self._gateway.url or base
        return base

    async def stop(self) -> None:
        """Stop listening, cut timers, waiting answers and callbacks; it does not start again."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def _make_app(self) -> web.Application:
        app = web.Application(client_max_size=_MAX_BODY)
        app.add_routes(self._control.routes())
        app.router.add_get("/sandbox/results/{name:.+}", serve)
        app.add_routes(self._gateway.routes())
        app.on_startup.append(self._open)
        app.on_shutdown.append(self._hush)
        app.on_cleanup.append(self._close)
        return app

    async def _open(self, _: web.Application) -> None:
        await self._courier.open()

    async def _hush(self, _: web.Application) -> None:
        """Let every request go that we keep waiting, so that the server can close its connections."""
        self._life.close()
        self._gateway.closing.set()
        self._record.changed()

    async def _close(self, _: web.Application) -> None:
        await self._courier.close()
