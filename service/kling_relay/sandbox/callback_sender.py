"""Sends callbacks: one queue per task, in order unless the schedule or the profile's shares say otherwise.

The body is written when the status changes, not when it is sent, so that a late callback reports the past.
"""

import asyncio
import io
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import lru_cache
from typing import Any

import aiohttp
from standardwebhooks import Webhook

from kling_relay.sandbox.callback_formats import Notice, callback_body
from kling_relay.sandbox.profile import Profile, RandomSource
from kling_relay.sandbox.schedule import happens
from kling_relay.sandbox.state import SentCallback, State, Task

_HUGE_SIZE = 2 * 1024 * 1024
_GARBAGE = b"<html><body>task finished, see {task_id</body>"
_MAX_READ = 64 * 1024
_MAX_KEPT_BODY = 64 * 1024


@dataclass(slots=True, eq=False)
class CurrentProfile:
    """The profile in force; tests and `PATCH /sandbox/profile` replace it while the sandbox runs."""

    profile: Profile


@dataclass(frozen=True, slots=True, kw_only=True)
class _Callback:
    """A callback ready to send; `wait` is a delay in seconds after the ones before it."""

    task_id: str
    status: str
    url: str
    body: bytes
    headers: dict[str, str]
    wait: float
    copies: int


@dataclass(slots=True, eq=False, kw_only=True)
class CallbackSender:
    """Sends callbacks until it is closed; closing drops what is not sent yet, as a crash of the provider would."""

    current: CurrentProfile
    state: State
    now: Callable[[], datetime]
    rng: RandomSource
    _session: aiohttp.ClientSession | None = None
    _queues: dict[str, deque[_Callback]] = field(default_factory=dict)
    _held: dict[str, list[_Callback]] = field(default_factory=dict)
    _running: set[asyncio.Task[None]] = field(default_factory=set)

    async def open(self) -> None:
        """Open the HTTP client; needs a running loop."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self.current.profile.connections),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": "kling-sandbox"},
        )

    async def close(self) -> None:
        """Cancel what is being sent and wait until it has stopped."""
        for sending in self._running:
            sending.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        self._held.clear()
        if self._session is not None:
            await self._session.close()

    def is_idle(self, task: Task) -> bool:
        """Return whether no callback of `task` is queued or held back."""
        return task.id not in self._queues and task.id not in self._held

    def enqueue(
        self, task: Task, status: str, reason: str = "", *, result: dict[str, Any] | None = None, false: bool = False
    ) -> None:
        """Queue a callback that says `task` is in `status`; a `false` one has a `result` of its own and no charge."""
        profile = self.current.profile
        if not task.order.hook or status not in profile.callbacks:
            return
        callback = self._write(task, status, reason, result if false else task.published_result, false=false)
        if status in task.schedule.lose or happens(profile.loss, self.rng):
            self._record(callback, is_lost=True)
        elif task.schedule.reorder:
            self._held.setdefault(task.id, []).append(callback)
        elif happens(profile.reorder, self.rng):
            self._start(self._send(replace(callback, wait=self.rng.uniform(*profile.delay_seconds))))
        else:
            self._append(callback)

    def release(self, task: Task) -> None:
        """Send what `[reorder]` held back, the last callback first."""
        for callback in reversed(self._held.pop(task.id, [])):
            self._append(callback)

    def _write(self, task: Task, status: str, reason: str, result: dict[str, Any] | None, *, false: bool) -> _Callback:
        profile, schedule, rng = self.current.profile, task.schedule, self.rng
        style = schedule.style or profile.style
        foreign = schedule.foreign_id or happens(profile.foreign_id, rng)
        notice = Notice(
            id=f"foreign-{rng.getrandbits(64):x}" if foreign else task.id,
            status=status,
            reason=reason,
            result=result if status == "succeed" else None,
            charge=None if false else task.charge,
            external_task_id="" if foreign else task.order.external_task_id,
            created_at=task.created_at,
            updated_at=task.updated_at,
            variant=rng.random() if style in ("mixed", "camel") else 0.0,
        )
        body = callback_body(style, notice)
        if schedule.garbage:
            body = _GARBAGE
        if schedule.huge:
            body = body.ljust(_HUGE_SIZE)  # padded with spaces, so that it is still JSON
        is_delayed = happens(profile.delay, rng)
        return _Callback(
            task_id=task.id,
            status=status,
            url=task.order.hook,
            body=body,
            headers=self._headers(task, body),
            wait=schedule.delay + (rng.uniform(*profile.delay_seconds) if is_delayed else 0.0),
            copies=max(schedule.copies, 2 if happens(profile.doubling, rng) else 1),
        )

    def _headers(self, task: Task, body: bytes) -> dict[str, str]:
        headers = {"Content-Type": "application/json"}
        secret = self.current.profile.secret
        if secret is not None and not task.schedule.unsigned:
            at, message_id = self.now(), str(self.rng.getrandbits(63))
            signed = b"forged" if task.schedule.forged else body
            headers["webhook-id"] = message_id
            headers["webhook-timestamp"] = str(int(at.timestamp()))
            headers["webhook-signature"] = _webhook(secret).sign(message_id, at, signed.decode())
        return headers

    def _append(self, callback: _Callback) -> None:
        queue = self._queues.get(callback.task_id)
        if queue is None:
            self._queues[callback.task_id] = queue = deque()
            self._start(self._drain(callback.task_id, queue))
        queue.append(callback)

    def _start(self, sending: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(sending)
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _drain(self, task_id: str, queue: deque[_Callback]) -> None:
        try:
            while queue:
                await self._send(queue.popleft())
        finally:
            del self._queues[task_id]
            self.state.changed()

    async def _send(self, callback: _Callback) -> None:
        if callback.wait:
            await asyncio.sleep(callback.wait)
        for _ in range(callback.copies):
            pause = 1.0
            for attempt in range(max(1, self.current.profile.callback_tries)):
                if attempt:
                    await asyncio.sleep(pause)
                    pause *= 2
                if await self._post(callback):
                    break

    async def _post(self, callback: _Callback) -> bool:
        """Return whether the receiver answered 2xx; every outcome is recorded."""
        assert self._session is not None
        # aiohttp warns about large bodies given as bytes, because it sends them in one piece.
        body = callback.body if len(callback.body) < _MAX_READ else io.BytesIO(callback.body)
        timeout = aiohttp.ClientTimeout(total=self.current.profile.callback_timeout)
        try:
            async with self._session.post(
                callback.url, data=body, headers=callback.headers, allow_redirects=False, timeout=timeout
            ) as response:
                await response.content.read(_MAX_READ)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            self._record(callback, error=type(error).__name__)
            return False
        self._record(callback, answer=response.status)
        return 200 <= response.status < 300

    def _record(
        self, callback: _Callback, *, is_lost: bool = False, answer: int | None = None, error: str = ""
    ) -> None:
        self.state.callbacks.append(
            SentCallback(
                at=self.now(),
                task_id=callback.task_id,
                status=callback.status,
                url=callback.url,
                headers=callback.headers,
                body=callback.body[:_MAX_KEPT_BODY],
                is_lost=is_lost,
                answer=answer,
                error=error,
            )
        )
        self.state.changed()


@lru_cache(maxsize=8)
def _webhook(secret: str) -> Webhook:
    return Webhook(secret)
