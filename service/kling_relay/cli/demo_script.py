"""The demo's story: a client orders one of each kind, and every step is a line, up to the verified delivery."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import asdict, dataclass, field
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import click

from kling_relay.app import clock, keys
from kling_relay.cli.connection import DEMO_FILE
from kling_relay.cli.errors import Failure
from kling_relay.cli.output import COLOURS
from kling_relay.cli.subscriber import Subscriber, listening
from kling_relay.cli.watch import FINAL, steps
from kling_relay.client import Event, Kind, NotFoundError, Relay, Task, UnauthenticatedError
from kling_relay.sandbox.images import draw

if TYPE_CHECKING:
    from kling_relay.app.wiring import Parts
    from kling_relay.settings import Settings

WITHIN = 60.0
"""Seconds that the four may take; the sandbox needs three."""
_CLIENT, _RELAY, _PROVIDER, _SUBSCRIBER = "client", "kling-relay", "sandbox", "subscriber"


@dataclass(frozen=True, slots=True)
class Kept:
    """What a demo finds again the next time: its key, and its subscription with the secret."""

    key: str = ""
    subscription: str = ""
    secret: str = ""


@dataclass(slots=True)
class Story:
    """A client and a subscriber of a running service, and what they have seen."""

    relay: Relay
    subscriber: Subscriber
    key: str
    tasks: dict[str, Task] = field(default_factory=dict)
    final: dict[str, Event] = field(default_factory=dict)
    _delivered: set[str] = field(default_factory=set)
    _steps: set[tuple[str, str]] = field(default_factory=set)
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    @classmethod
    @asynccontextmanager
    async def begun(cls, parts: "Parts", settings: "Settings", port: int) -> AsyncIterator[Self]:
        """Give a story whose client has a key and whose subscriber is subscribed, those of the last time if any."""
        path = Path(settings.data_dir) / DEMO_FILE
        kept = _read(path)
        subscriber = Subscriber(got=lambda event: story.got(event), secret=kept.secret)  # noqa: PLW0108 - made below
        url = f"http://{'127.0.0.1' if settings.host == '0.0.0.0' else settings.host}:{settings.port}"  # noqa: S104
        async with listening(subscriber, port):
            key = await _key(parts, url, kept.key)
            async with Relay(url, key) as relay:
                story = cls(relay, subscriber, key)
                kept = await _subscribed(relay, subscriber, Kept(key, kept.subscription, kept.secret))
                _write(path, kept)
                yield story

    async def tell(self, *, is_last: bool) -> None:
        """Order one of each kind and return when each was delivered. Raises Failure where one was not in time."""
        self._say_where()
        click.echo(f"Four orders, and what becomes of them. The subscriber listens on {self.subscriber.url}.\n")
        following = [asyncio.ensure_future(self._follow(await self._order(kind, body))) for kind, body in _orders()]
        try:
            async with asyncio.timeout(WITHIN):
                await asyncio.gather(*following)
                while self._delivered < set(self.tasks):
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            left = ", ".join(_short(task) for task in sorted(set(self.tasks) - self._delivered))
            advice = "The console shows where they are."
            raise Failure(f"Not delivered within {WITHIN:g} s: {left}.", advice=advice) from None
        finally:
            for each in following:
                each.cancel()
        click.echo("\nAll four were delivered. What came of them:")
        for name in self.tasks:
            for url in self.final[name].task.urls:
                click.echo(f"  {self.tasks[name].kind:<12} {url}")
        if not is_last:
            click.echo()
            self._say_where()
            click.echo("Ctrl-C ends it; data and key are there again the next time.")

    def got(self, event: Event) -> None:
        """Note a delivery that the subscriber has verified."""
        task, status = str(event.data.get("task_id", "")), str(event.data.get("task_status", ""))
        if task in self.tasks:
            self._step(task, status)
            self._line(task, status, _RELAY, _SUBSCRIBER, f"{event.type} delivered, signature verified")
            if status in FINAL:
                self._delivered.add(task)
                self._news.set()

    def _say_where(self) -> None:
        console = f"{self.relay.url}/console"
        click.echo(f"  console  {click.style(f'{console}#key={self.key}', bold=True)}")
        click.echo(f"  key      {self.key}\n")

    async def _order(self, kind: Kind, body: dict[str, Any]) -> Task:
        task = await self.relay.submit(kind, body)
        self.tasks[task.task_id] = task
        self._line(task.task_id, "ordered", _CLIENT, _RELAY, str(body.get("prompt", "")))
        return task

    async def _follow(self, task: Task) -> None:
        async with aclosing(steps(self.relay, task.task_id)) as events:
            async for event in events:
                status = str(event.data["task_status"])
                self._step(task.task_id, status)
                if status in FINAL:
                    self.final[task.task_id] = event
                    return

    def _step(self, task: str, status: str) -> None:
        """Print a step once, whoever of client and subscriber hears of it first."""
        if (task, status) not in self._steps:
            self._steps.add((task, status))
            told = (_RELAY, _PROVIDER, "the provider has it") if status == "submitted" else (_PROVIDER, _RELAY, "")
            self._line(task, status, *told)

    def _line(self, task: str, status: str, giver: str, taker: str, more: str) -> None:
        at = clock.now().astimezone().strftime("%H:%M:%S.%f")[:-3]
        word = click.style(f"{status:<10}", fg=COLOURS.get(status))
        who = f"{giver} -> {taker}"
        click.echo(f"{at}  {_short(task)}  {self.tasks[task].kind:<11}  {word}  {who:<25}  {more}".rstrip())


def _orders() -> list[tuple[Kind, dict[str, Any]]]:
    picture = BytesIO()
    draw("demo", "1x1", "a rabbit").save(picture, "PNG")
    return [
        (Kind.TEXT2IMAGE, {"prompt": "a comic rabbit eating grass", "aspect_ratio": "4:3"}),
        (Kind.IMAGE2IMAGE, {"prompt": "the same by moonlight", "image": picture.getvalue(), "image_fidelity": 0.5}),
        (Kind.TEXT2VIDEO, {"prompt": "a spaceship under way", "aspect_ratio": "16:9", "duration": "5"}),
        (Kind.IMAGE2VIDEO, {"prompt": "the rabbit hops away", "image": picture.getvalue(), "mode": "pro"}),
    ]


async def _key(parts: "Parts", url: str, kept: str) -> str:
    """Return the key of the last time where it still holds, or a new one."""
    if kept:
        async with Relay(url, kept) as relay:
            try:
                await anext(relay.tasks(limit=1), None)
            except UnauthenticatedError:
                pass  # other data, or revoked: a new one is made
            else:
                return kept
    return await keys.create(parts.database, parts.encryptor, "demo")


async def _subscribed(relay: Relay, subscriber: Subscriber, kept: Kept) -> Kept:
    """Have the subscriber subscribed at its present address, by the subscription of the last time where it is there."""
    if kept.subscription and kept.secret:
        try:
            found = await relay.subscription(kept.subscription)
        except NotFoundError:
            pass  # other data, or deleted: a new one is made
        else:
            if found.url != subscriber.url:
                await relay.change_subscription(found.id, url=subscriber.url)
            if found.status != "active":
                await relay.resume(found.id)
            return kept
    made = await relay.subscribe(subscriber.url, description="the demo's own subscriber")
    subscriber.secret = made.secret or ""
    return Kept(kept.key, made.id, subscriber.secret)


def _short(task: str) -> str:
    """Return the end of an id: its beginning is the time, the same for all four."""
    return task[-8:]


def _read(path: Path) -> Kept:
    try:
        content = json.loads(path.read_text("utf-8"))
        return Kept(**content)
    except (OSError, ValueError, TypeError):
        return Kept()


def _write(path: Path, kept: Kept) -> None:
    """Write the file whole, for its owner alone."""
    aside = path.with_name(f"{path.name}.new")
    with open(aside, "w", encoding="utf-8", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        json.dump(asdict(kept), file)
    aside.replace(path)
