"""A process of the service that a test may kill at any moment, or at a named point between two of its writes.

The points are made here, by wrapping what the flows call; the service knows nothing about them. Processes are forked
from a server that has everything imported, so that a start takes a tenth of a second.
"""

import asyncio
import multiprocessing
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import wraps
from inspect import iscoroutinefunction
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from kling_relay.app import clock
from kling_relay.app.commands import in_loop
from kling_relay.app.serving import Role, serve
from kling_relay.app.wiring import Tunables
from kling_relay.destinations.webhook import WebhookClient
from kling_relay.flows.fetch import FetchTunables
from kling_relay.flows.send import SendTunables
from kling_relay.flows.submit import SubmitTunables
from kling_relay.flows.sweep import SweepTunables
from kling_relay.provider.client import Provider
from kling_relay.store.deliveries import outbox
from kling_relay.store.tasks import idempotency, record, steps, submissions
from tests.support.service import settings_for

Act = Callable[..., Awaitable[Any]]

QUICK = Tunables(
    fetch=FetchTunables(lease=1.5, heartbeat=0.3),
    sweep=SweepTunables(claimed_for=3.0),
    submit=SubmitTunables(unsent_for=1.0),
    send=SendTunables(claimed_for=1.0),
)
"""Shorter times than in production, because a test takes seconds."""


def _always(*_: Any, **__: Any) -> bool:
    return True


def _is_answer(_: Any, heard: Any = (), taken: Any = (), **__: Any) -> bool:
    return any(each.is_own_id for each in taken)


def _is_callback(_: Any, heard: Any = (), taken: Any = (), **__: Any) -> bool:
    return bool(heard)


@dataclass(frozen=True, slots=True)
class Point:
    """A place to die: before or after the call of `name` of `owner`, if `when` is true for its arguments."""

    owner: Any
    name: str
    after: bool = False
    when: Callable[..., bool] = _always


POINTS: Mapping[str, Point] = {
    "submit: nothing recorded": Point(record, "record_on"),
    "submit: recorded, not claimed": Point(submissions, "claim_for_sending"),
    "submit: claimed, POST not sent": Point(Provider, "submit"),
    "submit: POST sent, answer not read": Point(Provider, "submit", after=True),
    "submit: answered, not settled": Point(steps, "write", when=_is_answer),
    "submit: settled, client not answered": Point(steps, "write", after=True, when=_is_answer),
    "submit: must wait, not rescheduled": Point(submissions, "set_waiting"),
    "submit: rescheduled, not sent again": Point(submissions, "set_waiting", after=True),
    "submit: answer lost, not recorded as unknown": Point(submissions, "set_unknown"),
    "submit: recorded as unknown, not polled": Point(submissions, "set_unknown", after=True),
    "submit: refused, key not freed": Point(idempotency, "release_keys"),
    "ingest: callback read, not written": Point(steps, "write", when=_is_callback),
    "ingest: written, provider not answered": Point(steps, "write", after=True, when=_is_callback),
    "deliver: due, POST not made": Point(WebhookClient, "post"),
    "deliver: POST made, not settled": Point(outbox, "settle"),
    "deliver: settled": Point(outbox, "settle", after=True),
    "sweep: polled, answer not written": Point(Provider, "poll", after=True),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """How to start a process. `settings` are texts as in the environment, without RELAY_."""

    role: Role
    database: str
    provider: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    dies_at: str | None = None
    stops_at: Point | None = None
    """Where it stands still (SIGSTOP) until somebody continues it."""
    clock_ahead: timedelta = timedelta()
    """By how much its machine's clock is wrong."""
    tunables: Tunables = QUICK
    log: Path


def _lay(point: Point, number: signal.Signals = signal.SIGKILL) -> None:
    """Send this process a signal the first time that it is at the point."""
    act: Act = getattr(point.owner, point.name)
    is_passed = False

    def is_here(*given: Any, **named: Any) -> bool:
        nonlocal is_passed
        is_first = not is_passed and point.when(*given[1:], **named)
        is_passed = is_passed or is_first
        return is_first

    @wraps(act)
    async def laid(*given: Any, **named: Any) -> Any:
        if not is_here(*given, **named):
            return await act(*given, **named)
        if point.after:
            answer = await act(*given, **named)
            os.kill(os.getpid(), number)
            return answer
        os.kill(os.getpid(), number)
        return await act(*given, **named)

    @wraps(act)
    def laid_in_between(*given: Any, **named: Any) -> Any:
        if is_here(*given, **named):
            os.kill(os.getpid(), number)
        return act(*given, **named)

    setattr(point.owner, point.name, laid if iscoroutinefunction(act) else laid_in_between)


def _run(role: Part, ready: Connection) -> None:
    with role.log.open("ab", buffering=0) as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    if role.dies_at:
        _lay(POINTS[role.dies_at])
    if role.stops_at:
        _lay(role.stops_at, signal.SIGSTOP)
    if role.clock_ahead:
        machine_now = clock.now
        setattr(clock, "now", lambda: machine_now() + role.clock_ahead)  # noqa: B010 - a module's function
    settings = settings_for(role.database, role.provider, **role.settings)
    try:
        in_loop(
            serve(
                settings,
                role.role,
                started=lambda _, real: ready.send((real.port, real.metrics_port)),
                tunables=role.tunables,
            )
        )
    except Exception as error:  # noqa: BLE001 - PostgreSQL may be unavailable at the start: whoever supervises starts it again
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        sys.stderr.flush()
        os._exit(1)


_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload(["tests.faults.process"])


class Process:
    """A started process. `port` is where it listens, 0 for a worker; `metrics_port` is of its metrics."""

    def __init__(self, role: Part) -> None:
        self._ours, theirs = _forks.Pipe(duplex=False)
        self._process = _forks.Process(target=_run, args=(role, theirs), daemon=True)
        self._process.start()
        theirs.close()
        self.port = self.metrics_port = 0

    @property
    def pid(self) -> int:
        return self._process.pid or 0

    async def ready(self) -> bool:
        """Wait until it serves. Return False if it ended instead."""
        try:
            self.port, self.metrics_port = await asyncio.to_thread(self._ours.recv)
        except EOFError:
            return False
        return True

    async def ended(self) -> int:
        """Wait until it has ended and return its exit code: -9 if it was killed."""
        await asyncio.to_thread(self._process.join)
        return self._process.exitcode or 0

    def kill(self) -> None:
        self._process.kill()

    def stop(self) -> None:
        self._process.terminate()


@asynccontextmanager
async def started(role: Part) -> AsyncIterator[Process]:
    """Start a process and wait until it serves; kill it at the end."""
    process = Process(role)
    try:
        assert await process.ready(), role.log.read_text()[-2000:]
        yield process
    finally:
        process.kill()
        await process.ended()


class Ward:
    """Supervises a process: starts it again whenever it ends."""

    def __init__(self, role: Part) -> None:
        self._role = role
        self._process: Process | None = None
        self._stopped = False
        self._keeping: asyncio.Task[None] | None = None
        self.starts = 0
        self.kills = 0

    def begin(self) -> None:
        self._keeping = asyncio.get_running_loop().create_task(self._keep())

    def kill(self) -> None:
        """Kill the process if it runs now."""
        if self._process is not None:
            self.kills += 1
            self._process.kill()

    async def end(self) -> None:
        """Kill it and do not start it again."""
        self._stopped = True
        self.kill()
        if self._keeping is not None:
            await self._keeping

    async def _keep(self) -> None:
        while not self._stopped:
            self.starts += 1
            self._process = Process(self._role)
            await self._process.ready()
            if self._stopped:
                self._process.kill()
            await self._process.ended()
            await asyncio.sleep(0.05)  # as a supervisor waits, or a process that dies at once would spin


def reserved_port() -> socket.socket:
    """Return a bound socket that does not listen. It reserves its port while processes come and go."""
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    held.bind(("127.0.0.1", 0))
    return held


def dying(role: Part, point: str) -> Part:
    """Return the same process, but one that dies at `point`."""
    return replace(role, dies_at=point)
