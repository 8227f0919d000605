"""Callbacks on their way: one line per task, kept in order unless the plan or the dice say otherwise.

The body is made when the status changes, not when it is sent, so that a late callback tells what was true then.
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
from kling_relay.sandbox.profile import Chance, Temper
from kling_relay.sandbox.schedule import happens
from kling_relay.sandbox.state import Record, Sent, Task

_HUGE = 2 * 1024 * 1024
_GARBAGE = b"<html><body>task finished, see {task_id</body>"
_MAX_READ = 64 * 1024
_KEPT_BODY = 64 * 1024


@dataclass(slots=True, eq=False)
class Mood:
    """The temper as it is at present; tests and `PATCH /sandbox/temper` change it while the sandbox runs."""

    temper: Temper


@dataclass(frozen=True, slots=True, kw_only=True)
class _Letter:
    """One callback ready to go: what to send how often, `wait` seconds after its turn has come."""

    task_id: str
    status: str
    url: str
    body: bytes
    headers: dict[str, str]
    wait: float
    copies: int


@dataclass(slots=True, eq=False, kw_only=True)
class Courier:
    """Sends callbacks until it is closed; what is still on its way then is dropped, as by a provider that dies."""

    mood: Mood
    record: Record
    now: Callable[[], datetime]
    chance: Chance
    _session: aiohttp.ClientSession | None = None
    _lines: dict[str, deque[_Letter]] = field(default_factory=dict)
    _held: dict[str, list[_Letter]] = field(default_factory=dict)
    _going: set[asyncio.Task[None]] = field(default_factory=set)

    async def open(self) -> None:
        """Open the client; needs a running loop."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self.mood.temper.connections),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": "kling-sandbox"},
        )

    async def close(self) -> None:
        """Cut off what is on its way and return when nothing is left."""
        for going in self._going:
            going.cancel()
        await asyncio.gather(*self._going, return_exceptions=True)
        self._held.clear()
        if self._session is not None:
            await self._session.close()

    def is_idle(self, task: Task) -> bool:
        """Return whether nothing of `task` waits in its line."""
        return task.id not in self._lines and task.id not in self._held

    def tell(
        self, task: Task, status: str, reason: str = "", *, result: dict[str, Any] | None = None, lie: bool = False
    ) -> None:
        """Call back that `task` is in `status`; a `lie`, with a result of its own, is not what the record says."""
        temper = self.mood.temper
        if not task.order.hook or status not in temper.callbacks:
            return
        letter = self._write(task, status, reason, result if lie else task.result, lie=lie)
        if status in task.plan.lose or happens(temper.loss, self.chance):
            self._keep(letter, lost=True)
        elif task.plan.reorder:
            self._held.setdefault(task.id, []).append(letter)
        elif happens(temper.reorder, self.chance):
            self._start(self._send(replace(letter, wait=self.chance.uniform(*temper.delay_seconds))))
        else:
            self._enqueue(letter)

    def let_go(self, task: Task) -> None:
        """Send what `[reorder]` held back, the last first."""
        for letter in reversed(self._held.pop(task.id, [])):
            self._enqueue(letter)

    def _write(self, task: Task, status: str, reason: str, result: dict[str, Any] | None, *, lie: bool) -> _Letter:
        temper, plan, chance = self.mood.temper, task.plan, self.chance
        style = plan.style or temper.style
        foreign = plan.foreign_id or happens(temper.foreign_id, chance)
        notice = Notice(
            id=f"foreign-{chance.getrandbits(64):x}" if foreign else task.id,
            status=status,
            reason=reason,
            result=result if status == "succeed" else None,
            charge=None if lie else task.charge,
            external_task_id="" if foreign else task.order.external_task_id,
            created_at=task.created_at,
            updated_at=task.updated_at,
            chance=chance.random() if style in ("mixed", "camel") else 0.0,
        )
        body = callback_body(style, notice)
        if plan.garbage:
            body = _GARBAGE
        if plan.huge:
            body = body.ljust(_HUGE)  # spaces: still JSON, only too much of it
        late = happens(temper.delay, chance)
        return _Letter(
            task_id=task.id,
            status=status,
            url=task.order.hook,
            body=body,
            headers=self._headers(task, body),
            wait=plan.delay + (chance.uniform(*temper.delay_seconds) if late else 0.0),
            copies=max(plan.copies, 2 if happens(temper.doubling, chance) else 1),
        )

    def _headers(self, task: Task, body: bytes) -> dict[str, str]:
        headers = {"Content-Type": "application/json"}
        secret = self.mood.temper.secret
        if secret is not None and not task.plan.unsigned:
            at, identity = self.now(), str(self.chance.getrandbits(63))
            signed = b"forged" if task.plan.forged else body
            headers["webhook-id"] = identity
            headers["webhook-timestamp"] = str(int(at.timestamp()))
            headers["webhook-signature"] = _webhook(secret).sign(identity, at, signed.decode())
        return headers

    def _enqueue(self, letter: _Letter) -> None:
        line = self._lines.get(letter.task_id)
        if line is None:
            self._lines[letter.task_id] = line = deque()
            self._start(self._empty(letter.task_id, line))
        line.append(letter)

    def _start(self, sending: Coroutine[Any, Any, None]) -> None:
        going = asyncio.get_running_loop().create_task(sending)
        self._going.add(going)
        going.add_done_callback(self._going.discard)

    async def _empty(self, task_id: str, line: deque[_Letter]) -> None:
        try:
            while line:
                await self._send(line.popleft())
        finally:
            del self._lines[task_id]
            self.record.changed()

    async def _send(self, letter: _Letter) -> None:
        if letter.wait:
            await asyncio.sleep(letter.wait)
        for _ in range(letter.copies):
            pause = 1.0
            for attempt in range(max(1, self.mood.temper.callback_tries)):
                if attempt:
                    await asyncio.sleep(pause)
                    pause *= 2
                if await self._post(letter):
                    break

    async def _post(self, letter: _Letter) -> bool:
        """Return whether the receiver said 2xx; whatever came of it is in the record."""
        assert self._session is not None
        # aiohttp warns of large bodies that come as bytes, because it sends them in one go.
        body = letter.body if len(letter.body) < _MAX_READ else io.BytesIO(letter.body)
        timeout = aiohttp.ClientTimeout(total=self.mood.temper.callback_timeout)
        try:
            async with self._session.post(
                letter.url, data=body, headers=letter.headers, allow_redirects=False, timeout=timeout
            ) as answer:
                await answer.content.read(_MAX_READ)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            self._keep(letter, error=type(error).__name__)
            return False
        self._keep(letter, answer=answer.status)
        return 200 <= answer.status < 300

    def _keep(self, letter: _Letter, *, lost: bool = False, answer: int | None = None, error: str = "") -> None:
        self.record.sent.append(
            Sent(
                at=self.now(),
                task_id=letter.task_id,
                status=letter.status,
                url=letter.url,
                headers=letter.headers,
                body=letter.body[:_KEPT_BODY],
                lost=lost,
                answer=answer,
                error=error,
            )
        )
        self.record.changed()


@lru_cache(maxsize=8)
def _webhook(secret: str) -> Webhook:
    return Webhook(secret)
