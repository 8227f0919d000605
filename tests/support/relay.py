"""A web of its own for one test: real database, real flows, real sockets; only the provider is a stand-in."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import aiohttp
import orjson
from typing_extensions import override

from kling_relay.core import callback_token
from kling_relay.core.address import Allowed
from kling_relay.core.ids import RANDOM_BITS, new_id
from kling_relay.core.key import ALL_SCOPES, Scope, digest, key_id, make_key
from kling_relay.core.signature import new_secret
from kling_relay.core.submission import Accepted, NoAnswer, PollResult, SubmitOutcome
from kling_relay.core.task import Signal, SignalKind
from kling_relay.flows.ingest import Ingest
from kling_relay.flows.observer import AnsweredRequest, Observer
from kling_relay.flows.send import Send
from kling_relay.flows.submit import Submit
from kling_relay.flows.wakeup import Wakeup
from kling_relay.provider.price_file import load_prices
from kling_relay.provider.rulebook_file import load_rulebook
from kling_relay.store.access import client_keys, secrets
from kling_relay.store.access.client_keys import NewKey
from kling_relay.store.access.encryption import Encryptor
from kling_relay.store.postgres.database import Database, connect
from kling_relay.web.application import WebApplication, build
from kling_relay.web.http.context import Context, Limits
from kling_relay.web.server import serve
from tests.support.waiting import eventually

CALLBACK_KEY = b"k" * 32
VIDEO = {"videos": [{"id": "v", "url": "https://cdn.example.com/v.mp4", "duration": "5.1"}]}


class StandIn:
    """A provider that takes every order at once, or answers what a test put into `next`."""

    def __init__(self) -> None:
        self.orders: list[dict[str, Any]] = []
        self.next: list[SubmitOutcome] = []

    async def submit(
        self, operation_path: str, body: bytes, task: UUID, hook: str, now: datetime, trace: str | None = None
    ) -> SubmitOutcome:
        self.orders.append({"operation": operation_path, "task": task, "hook": hook, **orjson.loads(body)})
        if self.next:
            return self.next.pop(0)
        return Accepted(f"p-{task.hex}", Signal(kind=SignalKind.SUBMITTED, provider_task_id=f"p-{task.hex}"))

    async def poll(
        self, operation_path: str, provider_task_id: str | None, task: UUID, now: datetime, trace: str | None = None
    ) -> PollResult:
        return NoAnswer("the stand-in is not asked")


class RequestObserver(Observer):
    """Remembers every request that the web answered."""

    def __init__(self) -> None:
        self.answered: list[AnsweredRequest] = []

    @override
    def request_answered(self, request: AnsweredRequest) -> None:
        self.answered.append(request)


@dataclass(kw_only=True)
class House:
    """A served web with a client's key; `get`, `post` and so on give (status, JSON)."""

    url: str
    key: str
    client: UUID
    database: Database
    encryptor: Encryptor
    tools: Context
    application: WebApplication
    stop: Callable[[], Awaitable[None]]
    provider: StandIn
    session: aiohttp.ClientSession
    seen: list[AnsweredRequest] = field(default_factory=list)

    def load(self, name: str) -> int:
        """Return what the service counts under a name: waiters, streams, bytes."""
        return self.application.state.load[name]

    def add_load(self, name: str, amount: int) -> None:
        """Add to what the service counts under a name."""
        self.application.state.load[name] += amount

    async def key_of(self, client: str, scopes: Iterable[Scope] = ALL_SCOPES, **more: Any) -> str:
        return await add_key(self.database, self.encryptor, client, scopes, **more)

    async def call(
        self, method: str, path: str, key: str | None = None, *, headers: dict[str, str] | None = None, **more: Any
    ) -> tuple[int, Any]:
        status, body, _ = await self.full(method, path, key, headers=headers, **more)
        return status, body

    async def full(
        self, method: str, path: str, key: str | None = None, *, headers: dict[str, str] | None = None, **more: Any
    ) -> tuple[int, Any, dict[str, str]]:
        authorization = {"Authorization": f"Bearer {key or self.key}"} if key != "" else {}
        url = path if path.startswith("http") else self.url + path
        async with self.session.request(method, url, headers={**authorization, **(headers or {})}, **more) as answer:
            raw = await answer.read()
            is_json = answer.content_type.endswith("json") and raw
            return answer.status, orjson.loads(raw) if is_json else raw, dict(answer.headers)

    async def get(self, path: str, key: str | None = None, **more: Any) -> tuple[int, Any]:
        return await self.call("GET", path, key, **more)

    async def post(self, path: str, content: Any = None, key: str | None = None, **more: Any) -> tuple[int, Any]:
        return await self.call("POST", path, key, json=content, **more)

    async def order(self, prompt: str = "a rabbit", operation: str = "videos/text2video", **fields: Any) -> str:
        """Order something and return the task's id."""
        status, said = await self.post(f"/kling/v1/{operation}", {"prompt": prompt, **fields})
        assert status == 200, said
        return str(said["data"]["task_id"])

    async def called_back(self, task: str, status: str, **members: Any) -> None:
        """Let the provider say something of a task."""
        said = {"task_id": "p", "task_status": status, **members}
        path = f"/callbacks/{task}/{callback_token.make([CALLBACK_KEY], UUID(task))}"
        code, answer = await self.call("POST", path, "", json=said)
        assert (code, answer) == (200, {"code": 0, "message": "ok"})

    async def readable(self) -> None:
        """Wait until all events are below every running transaction of the cluster, other tests' databases included."""
        horizon = "SELECT coalesce(max(tx), 0) < pg_snapshot_xmin(pg_current_snapshot())::text::bigint FROM events"
        await eventually(lambda: self.database.pool.fetchval(horizon))

    async def done(self, task: str) -> None:
        await self.called_back(task, "succeed", task_result=VIDEO)


async def add_key(
    database: Database, encryptor: Encryptor, client: str, scopes: Iterable[Scope] = ALL_SCOPES, **more: Any
) -> str:
    """Make a key of the client with this name and return its text."""
    now = datetime.now(UTC)
    identifier, owner = (new_id(now, random.getrandbits(RANDOM_BITS)) for _ in range(2))
    text = make_key(identifier, random.getrandbits(256))
    assert key_id(text) == identifier
    hook_secret = new_secret(random.randbytes(32))
    new = NewKey(
        id=identifier,
        name=client,
        digest=digest(text),
        secret=secrets.encrypt_key(encryptor, identifier, text),
        scopes=frozenset(scopes),
        created_at=now,
        client_id=owner,
        client_name=client,
        hook_secret=secrets.encrypt_hook_secret(encryptor, owner, hook_secret),
    )
    await client_keys.create(database, replace(new, **more))
    return text


@asynccontextmanager
async def house(
    url: str, limits: Limits | None = None, *, change: Callable[[Context], Context] = lambda tools: tools
) -> AsyncIterator[House]:
    """Serve a web on a port of its own, on the database at `url`, its tools changed by `change`."""

    def clock() -> datetime:
        return datetime.now(UTC)

    limits = limits or Limits()
    provider, wakeup, encryptor = StandIn(), Wakeup(), Encryptor([b"s" * 32])
    requests = RequestObserver()
    async with connect(url) as database, aiohttp.ClientSession() as session:
        ingest = Ingest(database, wakeups=[wakeup], poll_after=60)
        send = Send(
            database,
            provider,
            ingest,
            hook_of=lambda task: f"http://relay/callbacks/{task}/{callback_token.make([CALLBACK_KEY], task)}",
            now=clock,
            chance=random.random,
            new_id=lambda at: new_id(at, random.getrandbits(RANDOM_BITS)),
            poll_after=60,
        )
        prices = load_prices("seed")
        submit = Submit(
            database,
            send,
            prices=prices,
            body_of=orjson.dumps,
            new_id=lambda at: new_id(at, random.getrandbits(RANDOM_BITS)),
        )
        tools = Context(
            submit=submit,
            ingest=ingest,
            database=database,
            encryptor=encryptor,
            callback_keys=[CALLBACK_KEY],
            rulebook=load_rulebook("seed"),
            prices=prices,
            now=clock,
            random_bits=random.getrandbits,
            new_id=lambda at: new_id(at, random.getrandbits(RANDOM_BITS)),
            wakeup=wakeup,
            limits=limits,
            allowed=Allowed.parse("127.0.0.0/8"),
            observer=requests,
        )
        tools = change(tools)
        key = await add_key(database, encryptor, "tests")
        row = await client_keys.by_digest(database, digest(key))
        assert row is not None
        application = build(tools)
        async with AsyncExitStack() as server:
            port = await server.enter_async_context(serve(application, "127.0.0.1", 0, limits, shutdown_timeout=2))
            yield House(
                stop=server.aclose,
                url=f"http://127.0.0.1:{port}",
                key=key,
                client=row.client,
                database=database,
                encryptor=encryptor,
                tools=tools,
                application=application,
                provider=provider,
                session=session,
                seen=requests.answered,
            )
        await asyncio.wait_for(submit.drain(), 5)
        await asyncio.wait_for(ingest.drain(), 5)
