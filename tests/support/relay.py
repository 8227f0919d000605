"""The API in the test's own process, with real flows, a real database and real sockets; only the provider is a stub."""

import asyncio
import random
import time
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
from kling_relay.core.address import DialPolicy
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
from kling_relay.store.access import client_keys, secrets
from kling_relay.store.access.client_keys import NewKey
from kling_relay.store.access.encryption import Encryptor
from kling_relay.store.postgres.database import Database, connect
from kling_relay.web.application import WebApplication, build
from kling_relay.web.http.context import Context, RequestLimits
from kling_relay.web.server import serve
from tests.support.api_document import BOOK
from tests.support.waiting import eventually

CALLBACK_KEY = b"k" * 32
VIDEO = {"videos": [{"id": "v", "url": "https://cdn.example.com/v.mp4", "duration": "5.1"}]}


class StubProvider:
    """A provider that accepts every order, or returns the outcomes that a test puts into `next`."""

    def __init__(self) -> None:
        self.orders: list[dict[str, Any]] = []
        self.next: list[SubmitOutcome] = []

    async def submit(
        self,
        operation_path: str,
        body: bytes,
        task: UUID,
        hook: str,
        now: datetime,
        trace: str | None = None,
        *,
        may_send: Callable[[], bool],
    ) -> SubmitOutcome:
        assert may_send()
        self.orders.append({"operation": operation_path, "task": task, "hook": hook, **orjson.loads(body)})
        if self.next:
            return self.next.pop(0)
        return Accepted(f"p-{task.hex}", Signal(kind=SignalKind.SUBMITTED, provider_task_id=f"p-{task.hex}"))

    async def poll(
        self, operation_path: str, provider_task_id: str | None, task: UUID, now: datetime, trace: str | None = None
    ) -> PollResult:
        return NoAnswer("the stub has no tasks")


class RequestObserver(Observer):
    """Records every request that was answered."""

    def __init__(self) -> None:
        self.answered: list[AnsweredRequest] = []

    @override
    def request_answered(self, request: AnsweredRequest) -> None:
        self.answered.append(request)


@dataclass(kw_only=True)
class ApiServer:
    """A running API and a client's key; `get`, `post` and `call` return the status and the JSON."""

    url: str
    key: str
    client: UUID
    database: Database
    encryptor: Encryptor
    context: Context
    application: WebApplication
    stop: Callable[[], Awaitable[None]]
    provider: StubProvider
    session: aiohttp.ClientSession
    answered: list[AnsweredRequest] = field(default_factory=list)

    def load(self, name: str) -> int:
        """Return what the service counts under a name: waiters, streams, bytes."""
        return self.application.state.load[name]

    def add_load(self, name: str, amount: int) -> None:
        """Add to what the service counts under a name."""
        self.application.state.load[name] += amount

    async def create_key(self, client: str, scopes: Iterable[Scope] = ALL_SCOPES, **options: Any) -> str:
        return await add_key(self.database, self.encryptor, client, scopes, **options)

    async def call(
        self, method: str, path: str, key: str | None = None, *, headers: dict[str, str] | None = None, **options: Any
    ) -> tuple[int, Any]:
        status, body, _ = await self.call_with_headers(method, path, key, headers=headers, **options)
        return status, body

    async def call_with_headers(
        self, method: str, path: str, key: str | None = None, *, headers: dict[str, str] | None = None, **options: Any
    ) -> tuple[int, Any, dict[str, str]]:
        authorization = {"Authorization": f"Bearer {key or self.key}"} if key != "" else {}
        url = path if path.startswith("http") else self.url + path
        headers = {**authorization, **(headers or {})}
        async with self.session.request(method, url, headers=headers, **options) as response:
            content = await response.read()
            is_json = response.content_type.endswith("json") and content
            return response.status, orjson.loads(content) if is_json else content, dict(response.headers)

    async def get(self, path: str, key: str | None = None, **options: Any) -> tuple[int, Any]:
        return await self.call("GET", path, key, **options)

    async def post(self, path: str, content: Any = None, key: str | None = None, **options: Any) -> tuple[int, Any]:
        return await self.call("POST", path, key, json=content, **options)

    async def order(self, prompt: str = "a rabbit", operation: str = "videos/text2video", **fields: Any) -> str:
        """Order something and return the task's id."""
        status, body = await self.post(f"/kling/v1/{operation}", {"prompt": prompt, **fields})
        assert status == 200, body
        return str(body["data"]["task_id"])

    async def send_callback(self, task: str, status: str, **members: Any) -> None:
        """Send a callback as the provider would."""
        callback = {"task_id": "p", "task_status": status, **members}
        path = f"/callbacks/{task}/{callback_token.make([CALLBACK_KEY], UUID(task))}"
        response = await self.call("POST", path, "", json=callback)
        assert response == (200, {"code": 0, "message": "ok"})

    async def wait_until_readable(self) -> None:
        """Wait until all events are below every running transaction of the cluster, other tests' databases included."""
        horizon = "SELECT coalesce(max(tx), 0) < pg_snapshot_xmin(pg_current_snapshot())::text::bigint FROM events"
        await eventually(lambda: self.database.pool.fetchval(horizon))

    async def succeed(self, task: str) -> None:
        """Send the callback of a task that succeeded with one video."""
        await self.send_callback(task, "succeed", task_result=VIDEO)


async def add_key(
    database: Database, encryptor: Encryptor, client: str, scopes: Iterable[Scope] = ALL_SCOPES, **options: Any
) -> str:
    """Create a key of the client with this name and return its text."""
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
    await client_keys.create(database, replace(new, **options))
    return text


@asynccontextmanager
async def serve_api(
    url: str, limits: RequestLimits | None = None, *, change: Callable[[Context], Context] = lambda context: context
) -> AsyncIterator[ApiServer]:
    """Serve the API on a free port and the database at `url`, with a context changed by `change`."""

    def clock() -> datetime:
        return datetime.now(UTC)

    limits = limits or RequestLimits()
    provider, wakeup, encryptor = StubProvider(), Wakeup(), Encryptor([b"s" * 32])
    requests = RequestObserver()
    async with connect(url, report_seconds=limits.report_seconds) as database, aiohttp.ClientSession() as session:
        ingest = Ingest(database, wakeups=[wakeup], poll_after=60)
        send = Send(
            database,
            provider,
            ingest,
            hook_of=lambda task: f"http://relay/callbacks/{task}/{callback_token.make([CALLBACK_KEY], task)}",
            now=clock,
            clocks=[time.monotonic, time.time],
            random_fraction=random.random,
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
        context = Context(
            submit=submit,
            ingest=ingest,
            database=database,
            encryptor=encryptor,
            callback_keys=[CALLBACK_KEY],
            rulebook=BOOK,
            prices=prices,
            now=clock,
            random_bits=random.getrandbits,
            new_id=lambda at: new_id(at, random.getrandbits(RANDOM_BITS)),
            web_wakeup=wakeup,
            limits=limits,
            dial_policy=DialPolicy.parse("127.0.0.0/8"),
            observer=requests,
        )
        context = change(context)
        key = await add_key(database, encryptor, "tests")
        row = await client_keys.by_digest(database, digest(key))
        assert row is not None
        application = build(context)
        async with AsyncExitStack() as server:
            port = await server.enter_async_context(serve(application, "127.0.0.1", 0, limits, shutdown_timeout=2))
            yield ApiServer(
                stop=server.aclose,
                url=f"http://127.0.0.1:{port}",
                key=key,
                client=row.client,
                database=database,
                encryptor=encryptor,
                context=context,
                application=application,
                provider=provider,
                session=session,
                answered=requests.answered,
            )
        await asyncio.wait_for(submit.drain(), 5)
        await asyncio.wait_for(ingest.drain(), 5)
