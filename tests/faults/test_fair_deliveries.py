"""A client's deliveries stay quick while another's hang: subscribers, a hook for each task, names without an answer.

Each attack runs beside a healthy client in one worker with real sockets. The figures are the healthy client's p99
without and with the attack. What is asserted does not depend on the speed of the machine: all of its deliveries arrive
while the attack's attempts still hang.
"""

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import pytest

from kling_relay.core.address import DialPolicy
from kling_relay.core.delivery import SubscriberResponse
from kling_relay.destinations.webhook import WebhookClient
from kling_relay.flows.fair_shares import CAPACITY
from kling_relay.flows.fetch import FetchTunables
from tests.support.outbox import Network, Outbox, RunningWorker, fresh_id, now, outbox, worker
from tests.support.waiting import eventually

CONCURRENCY = 20
EVENTS = 60
Figure = Callable[[str], None]
_OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


@pytest.fixture
async def box(database: str) -> AsyncIterator[Outbox]:
    async with outbox(database) as opened:
        yield opened


@dataclass(slots=True)
class Host:
    """A server: what is posted to /hang… is never answered, anything else at once."""

    port: int = 0
    hanging: int = 0
    arrived_at: dict[str, float] = field(default_factory=dict)
    """By webhook-id, the first time of each answered delivery."""

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}/{path}"

    async def meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                length = int(head.partition("content-length: ")[2].partition("\r\n")[0])
                await reader.readexactly(length)
                if head.startswith("post /hang"):
                    self.hanging += 1
                    await reader.read()
                    self.hanging -= 1
                    return
                name = head.partition("webhook-id: ")[2].partition("\r\n")[0]
                self.arrived_at.setdefault(name, asyncio.get_running_loop().time())
                writer.write(_OK)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def host() -> AsyncIterator[Host]:
    one = Host()
    server = await asyncio.start_server(one.meet, "127.0.0.1", 0)
    one.port = server.sockets[0].getsockname()[1]
    async with server:
        yield one


@asynccontextmanager
async def attacked(box: Outbox) -> AsyncIterator[tuple[RunningWorker, Host]]:
    """Run a worker over real sockets; it dies at the end, because its attempts hang."""
    client = WebhookClient(allowed=DialPolicy.parse("127.0.0.0/8"), timeout=60, max_lookups=100)
    network: Any = client  # it has the one method of a Network that a worker needs
    async with host() as one, client, worker(box.database, network, concurrency=CONCURRENCY) as hand:
        try:
            yield hand, one
        finally:
            await hand.die()


async def new_client(box: Outbox) -> UUID:
    client = fresh_id()
    await box.connection.execute(
        "INSERT INTO clients (id, name, hook_secret, created_at) VALUES ($1, $2, '', $3)", client, str(client), now()
    )
    return client


async def p99(box: Outbox, hand: RunningWorker, one: Host, subscriptions: list[UUID]) -> float:
    """Publish events to healthy subscriptions in turns; return the 99th percentile of the times to arrive, in ms."""
    loop, sent_at = asyncio.get_running_loop(), {}
    for number in range(EVENTS):
        subject = fresh_id()
        await box.step(subject, 1, subscriptions[number % len(subscriptions)])
        sent_at[f"evt_{subject.hex}_1"] = loop.time()
        hand.wakeup.notify()
    await eventually(lambda: sent_at.keys() <= one.arrived_at.keys(), 20)
    times = sorted(one.arrived_at[name] - at for name, at in sent_at.items())
    return times[len(times) * 99 // 100] * 1000


async def hang_with_three_subscriptions(box: Outbox, one: Host) -> int:
    subscriptions = [await box.subscribe(one.url(f"hang/{number}"), max_in_flight=100) for number in range(3)]
    await box.events(CONCURRENCY, *subscriptions)
    return CONCURRENCY


async def hang_with_a_hook_for_each_task(box: Outbox, one: Host) -> int:
    for number in range(2 * CONCURRENCY):
        hook = await box.subscribe(one.url(f"hang/task-{number}"), hook=True, events=[])
        await box.events(1, hook)
    return CONCURRENCY


async def hang_with_subscriptions_of_four_clients(box: Outbox, one: Host) -> int:
    for _ in range(4):
        client = await new_client(box)
        subscription = await box.subscribe(one.url("hang/all"), client=client, max_in_flight=100)
        await box.events(CONCURRENCY, subscription)
    return CONCURRENCY * 4 // 3


Attack = Callable[[Outbox, Host], Awaitable[int]]
ATTACKS: list[Attack] = [
    hang_with_three_subscriptions,
    hang_with_a_hook_for_each_task,
    hang_with_subscriptions_of_four_clients,
]


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
async def test_a_healthy_client_at_the_same_host_does_not_notice_what_hangs(
    box: Outbox, attack: Attack, figure: Figure
) -> None:
    async with attacked(box) as (hand, one):
        healthy = [await box.subscribe(one.url("ok"), client=await new_client(box))]
        await p99(box, hand, one, healthy)
        before = await p99(box, hand, one, healthy)
        share = await attack(box, one)
        await eventually(lambda: one.hanging >= share, 20)
        beside = await p99(box, hand, one, healthy)
        assert one.hanging >= share, "the attack is over too early"
        assert hand.deliver.in_flight < CAPACITY * CONCURRENCY
        figure(f"{attack.__name__}: a healthy client's p99 {before:.1f} ms before, {beside:.1f} ms beside it")
        assert beside < before + 5000, "attempts hang for 60 s"


@pytest.fixture
def dead_names(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The names that were asked for and have no answer: `dead-…`. All others are 127.0.0.1."""
    asked: list[str] = []
    over = threading.Event()

    def look_up(name: str, port: int, *_: Any, **__: Any) -> list[Any]:
        if name.startswith("dead-"):
            asked.append(name)
            over.wait(60)
            raise OSError("no answer")
        return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("127.0.0.1", port))]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    yield asked
    over.set()


async def test_a_new_name_is_looked_up_at_once_beside_names_without_an_answer(
    box: Outbox, dead_names: list[str], figure: Figure
) -> None:
    async with attacked(box) as (hand, one):
        client = await new_client(box)
        healthy = [await box.subscribe(one.url("ok", f"new-{number}.example"), client=client) for number in range(30)]
        before = await p99(box, hand, one, healthy[:10])
        for number in range(120):
            await box.events(1, await box.subscribe(one.url("ok", f"dead-{number}.example")))
        await eventually(lambda: hand.deliver.in_flight >= CONCURRENCY, 20)
        beside = await p99(box, hand, one, healthy[10:])
        assert len(dead_names) == len(set(dead_names)), "attempts for one name share a look-up"
        assert hand.deliver.in_flight >= CONCURRENCY
        figure(f"120 names without an answer: p99 of new names {before:.1f} ms before, {beside:.1f} ms beside them")
        assert beside < before + 5000


async def test_a_host_that_is_down_is_probed_and_not_asked_by_each_hook(box: Outbox, figure: Figure) -> None:
    async def refuse(_: str) -> SubscriberResponse:
        return SubscriberResponse(status=None, error="refused", retry_after=None, body=b"", latency=0.001)

    urls = [f"http://down.example/task-{number}" for number in range(60)]
    network = Network(answers=dict.fromkeys(urls, refuse))
    for url in urls:
        await box.events(2, await box.subscribe(url, hook=True, events=[]))
    async with worker(box.database, network, tunables=FetchTunables(scan_every=60.0)) as hand:
        await eventually(lambda: len(network.posts) >= 7)  # five, and two probes
        assert len(network.posts) < 20
        figure(f"60 hooks at a host that is down: {len(network.posts)} attempts")
        held = [len(queue.claimed) for queue in hand.deliver.queues.values()]
        assert max(held) <= 2
        network.answers.clear()
        await eventually(box.is_done, 20)
    assert set(urls) <= {url for url, _ in network.posts}


async def test_hooks_at_a_host_that_failed_for_five_days_are_disabled_without_an_attempt_each(box: Outbox) -> None:
    async def refuse(_: str) -> SubscriberResponse:
        return SubscriberResponse(status=None, error="refused", retry_after=None, body=b"", latency=0.001)

    urls = [f"http://gone.example/task-{number}" for number in range(30)]
    network = Network(answers=dict.fromkeys(urls, refuse))
    hooks = [await box.subscribe(url, hook=True, events=[]) for url in urls]
    await box.connection.execute(
        "UPDATE subscriptions SET failing_since = now() - interval '6 days' WHERE id = $1", hooks[0]
    )
    await box.events(1, *hooks)
    async with worker(box.database, network):

        async def are_disabled() -> bool:
            return bool(await box.connection.fetchval("SELECT bool_and(disabled_at IS NOT NULL) FROM subscriptions"))

        await eventually(are_disabled, 20)
    assert len(network.posts) < 20
