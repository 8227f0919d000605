"""What the demo does: a client orders one task of each kind, and every step is printed up to the verified delivery."""

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
from kling_relay.cli.subscriber import DemoSubscriber, listening
from kling_relay.cli.watch import FINAL, task_events
from kling_relay.client import Event, NotFoundError, Relay, Task, UnauthenticatedError
from kling_relay.core.address import local_url
from kling_relay.sandbox.images import draw

if TYPE_CHECKING:
    from kling_relay.app.wiring import Parts
    from kling_relay.settings import Settings

WITHIN = 60.0
"""Seconds for all four orders; the sandbox needs three."""
_CLIENT, _RELAY, _PROVIDER, _SUBSCRIBER = "client", "kling-relay", "sandbox", "subscriber"


@dataclass(frozen=True, slots=True)
class DemoData:
    """What a demo stores for the next one: its key, and its subscription with the secret."""

    key: str = ""
    subscription: str = ""
    secret: str = ""


@dataclass(slots=True)
class DemoScript:
    """A client and a subscriber of a running service, and the events that they have received."""

    relay: Relay
    subscriber: DemoSubscriber
    key: str
    tasks: dict[str, Task] = field(default_factory=dict)
    final: dict[str, Event] = field(default_factory=dict)
    _delivered: set[str] = field(default_factory=set)
    _printed: set[tuple[str, str]] = field(default_factory=set)
    _progress: asyncio.Event = field(default_factory=asyncio.Event)

    @classmethod
    @asynccontextmanager
    async def prepared(cls, parts: "Parts", settings: "Settings", port: int) -> AsyncIterator[Self]:
        """Yield a script whose client has a key and whose subscriber has a subscription.

        Both are those of the last demo if they are still valid.
        """
        path = Path(settings.data_dir) / DEMO_FILE
        demo_data = _read(path)
        subscriber = DemoSubscriber(lambda event: script.on_event(event), demo_data.secret)  # noqa: PLW0108 - defined below
        url = local_url(settings.host, settings.port)
        async with listening(subscriber, port):
            key = await _working_key(parts, url, demo_data.key)
            async with Relay(url, key) as relay:
                script = cls(relay, subscriber, key)
                demo_data = await _subscribe(relay, subscriber, DemoData(key, demo_data.subscription, demo_data.secret))
                _write(path, demo_data)
                yield script

    async def play(self, *, is_last: bool) -> None:
        """Order one task of each kind and return when all are delivered. Raises Failure if one is late."""
        self._print_address()
        click.echo(f"Four orders, step by step. The subscriber listens on {self.subscriber.url}.\n")
        followers = [asyncio.ensure_future(self._follow(await self._order(kind, body))) for kind, body in _orders()]
        try:
            async with asyncio.timeout(WITHIN):
                await asyncio.gather(*followers)
                while self._delivered < set(self.tasks):
                    self._progress.clear()
                    await self._progress.wait()
        except TimeoutError:
            late_tasks = ", ".join(_short(task) for task in sorted(set(self.tasks) - self._delivered))
            advice = "Check their progress in the console."
            raise Failure(f"Not delivered within {WITHIN:g} s: {late_tasks}.", advice=advice) from None
        finally:
            for follower in followers:
                follower.cancel()
        click.echo("\nAll four are delivered. The results:")
        for name in self.tasks:
            for url in self.final[name].task.urls:
                click.echo(f"  {self.tasks[name].kind:<12} {url}")
        if not is_last:
            click.echo()
            self._print_address()
            click.echo("Press Ctrl-C to stop. The next demo uses the same data and key.")

    def on_event(self, event: Event) -> None:
        """Record a delivery that the subscriber has verified."""
        task, status = str(event.data.get("task_id", "")), str(event.data.get("task_status", ""))
        if task in self.tasks:
            self._print_step(task, status)
            self._print(task, status, _RELAY, _SUBSCRIBER, f"{event.type} delivered, signature verified")
            if status in FINAL:
                self._delivered.add(task)
                self._progress.set()

    def _print_address(self) -> None:
        console = f"{self.relay.url}/console"
        click.echo(f"  console  {click.style(f'{console}#key={self.key}', bold=True)}")
        click.echo(f"  key      {self.key}\n")

    async def _order(self, kind: str, body: dict[str, Any]) -> Task:
        task = await self.relay.submit(kind, body)
        self.tasks[task.task_id] = task
        self._print(task.task_id, "ordered", _CLIENT, _RELAY, str(body.get("prompt", "")))
        return task

    async def _follow(self, task: Task) -> None:
        async with aclosing(task_events(self.relay, task.task_id)) as events:
            async for event in events:
                status = str(event.data["task_status"])
                self._print_step(task.task_id, status)
                if status in FINAL:
                    self.final[task.task_id] = event
                    return

    def _print_step(self, task: str, status: str) -> None:
        """Print a step once. Client and subscriber both see it, in any order."""
        if (task, status) in self._printed:
            return
        self._printed.add((task, status))
        if status == "submitted":
            self._print(task, status, _RELAY, _PROVIDER, "accepted by the provider")
        else:
            self._print(task, status, _PROVIDER, _RELAY, "")

    def _print(self, task: str, status: str, sender: str, receiver: str, detail: str) -> None:
        at = clock.now().astimezone().strftime("%H:%M:%S.%f")[:-3]
        word = click.style(f"{status:<10}", fg=COLOURS.get(status))
        path = f"{sender} -> {receiver}"
        click.echo(f"{at}  {_short(task)}  {self.tasks[task].kind:<11}  {word}  {path:<25}  {detail}".rstrip())


def _orders() -> list[tuple[str, dict[str, Any]]]:
    picture = BytesIO()
    draw("demo", "1x1", "a rabbit").save(picture, "PNG")
    return [
        ("text2image", {"prompt": "a comic rabbit eating grass", "aspect_ratio": "4:3"}),
        ("image2image", {"prompt": "the same by moonlight", "image": picture.getvalue(), "image_fidelity": 0.5}),
        ("text2video", {"prompt": "a spaceship under way", "aspect_ratio": "16:9", "duration": "5"}),
        ("image2video", {"prompt": "the rabbit hops away", "image": picture.getvalue(), "mode": "pro"}),
    ]


async def _working_key(parts: "Parts", url: str, stored_key: str) -> str:
    """Return the stored key if it is still valid, otherwise a new one."""
    if stored_key:
        async with Relay(url, stored_key) as relay:
            try:
                await anext(relay.tasks(limit=1), None)
            except UnauthenticatedError:
                pass  # another database, or the key was revoked
            else:
                return stored_key
    return await keys.create_key(parts.database, parts.encryptor, "demo")


async def _subscribe(relay: Relay, subscriber: DemoSubscriber, demo_data: DemoData) -> DemoData:
    """Create or update the subscription for the subscriber's URL."""
    if demo_data.subscription and demo_data.secret:
        try:
            subscription = await relay.subscription(demo_data.subscription)
        except NotFoundError:
            pass  # another database, or the subscription was deleted
        else:
            if subscription.url != subscriber.url:
                await relay.change_subscription(subscription.id, url=subscriber.url)
            if subscription.status != "active":
                await relay.resume(subscription.id)
            return demo_data
    subscription = await relay.subscribe(subscriber.url, description="the demo's subscriber")
    subscriber.secret = subscription.secret or ""
    return DemoData(demo_data.key, subscription.id, subscriber.secret)


def _short(task: str) -> str:
    """Return the end of an id. Its start is the time, which is the same for all four."""
    return task[-8:]


def _read(path: Path) -> DemoData:
    try:
        content = json.loads(path.read_text("utf-8"))
        return DemoData(**content)
    except (OSError, ValueError, TypeError):
        return DemoData()


def _write(path: Path, data: DemoData) -> None:
    """Write the file in one step, readable by its owner alone."""
    new = path.with_name(f"{path.name}.new")
    with open(new, "w", encoding="utf-8", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        json.dump(asdict(data), file)
    new.replace(path)
