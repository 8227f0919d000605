"""The parts of one process, each made once and handed to those that use it."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass

from kling_relay.app import clock
from kling_relay.app.observation import Insight
from kling_relay.app.signing_keys import signing_keys
from kling_relay.app.worker import Worker
from kling_relay.core import callback_token
from kling_relay.core.address import Allowed
from kling_relay.core.schedule import Schedule
from kling_relay.destinations.webhook import WebhookClient
from kling_relay.flows.budget import Budget
from kling_relay.flows.deliver import Deliver
from kling_relay.flows.fetch import Fetch
from kling_relay.flows.fleet_stats import SHARD, FleetStats
from kling_relay.flows.ingest import Ingest
from kling_relay.flows.send import TAKEN_FOR, Send
from kling_relay.flows.submit import Submit
from kling_relay.flows.sweep import Sweep
from kling_relay.flows.wakeup import Wakeup
from kling_relay.observe.traced import Provides
from kling_relay.provider.client import Provider
from kling_relay.provider.dialects import DIALECTS
from kling_relay.provider.price_file import load_prices
from kling_relay.provider.rulebook_file import load_rulebook
from kling_relay.settings import Settings
from kling_relay.store.access import headers, secrets
from kling_relay.store.access.encryption import Encryptor
from kling_relay.store.deliveries.recipients import Recipient
from kling_relay.store.postgres.database import Database
from kling_relay.web.http.context import Context, Limits

__all__ = ["Parts", "assemble"]
SANDBOX_KEY = "hk-sandbox"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a process is made of, whatever its role."""

    database: Database
    encryptor: Encryptor
    tools: Context
    submit: Submit
    ingest: Ingest
    worker: Worker
    deliver: Deliver
    draining: asyncio.Event


async def assemble(
    stack: AsyncExitStack, settings: Settings, database: Database, provider_url: str, seen: Insight
) -> Parts:
    """Make the parts; what has to be closed again is closed by `stack`, in reverse."""
    keys = signing_keys(settings)
    encryptor = Encryptor(keys)
    web_wakeup, worker_wakeup, slot_wakeup = Wakeup(), Wakeup(), Wakeup()
    draining = asyncio.Event()
    provider = await stack.enter_async_context(provider_of(settings, provider_url))
    ports = tuple(range(each.first, each.last + 1) for each in settings.allowed_ports)
    allowed = Allowed(networks=tuple(settings.allowed_networks), ports=ports)
    endpoint = await stack.enter_async_context(
        WebhookClient(allowed=allowed, timeout=settings.delivery_timeout.total_seconds())
    )
    ask_after = settings.sweep_after.total_seconds()
    verified_by = settings.provider_webhook_secret
    ingest = Ingest(
        database,
        wakeups=[web_wakeup, worker_wakeup, slot_wakeup],
        ask_after=ask_after,
        secrets=[verified_by.get_secret_value()] if verified_by else [],
        confirm=settings.confirm_callbacks,
        depth=settings.json_depth,
        max_waiting=settings.ingest_queue,
        observe=seen.metrics.batch("ingest"),
        observe_step=seen.step,
        observe_word=seen.metrics.signal,
    )
    public_url = settings.own_url
    asked = seen.provider(provider)
    send = Send(
        database,
        asked,
        ingest,
        hook_of=lambda task: f"{public_url}/callbacks/{task}/{callback_token.make(keys, task)}",
        now=clock.now,
        chance=clock.random_fraction,
        new_id=clock.new_id,
        ask_after=min(ask_after, 10.0),
        taken_for=max(TAKEN_FOR, 2 * settings.provider_timeout.total_seconds()),
        slots_limit=settings.provider_slots,
        alert=seen.never,
        observe=seen.submit,
    )
    prices = load_prices(settings.prices)
    budget = Budget(
        database,
        currency=prices.currency,
        now=clock.now,
        new_id=clock.new_id,
        wakeups=[web_wakeup, worker_wakeup],
        log=seen.log.said,
    )
    submit = Submit(database, send, prices=prices, body_of=provider.order_body, new_id=clock.new_id, budget=budget)
    wakeups = (worker_wakeup, slot_wakeup)
    deliver, worker = _worker(settings, database, endpoint, asked, ingest, send, encryptor, wakeups, seen, budget)
    seen.metrics.watch(
        callbacks=lambda: ingest.waiting,
        attempts=lambda: deliver.in_flight,
        settlements=lambda: deliver.settlement.waiting,
        queues=lambda: len(deliver.queues),
    )
    tools = Context(
        submit=seen.orders(submit),
        ingest=seen.callbacks(ingest),
        database=database,
        encryptor=encryptor,
        callback_keys=keys,
        rulebook=load_rulebook(settings.rulebook),
        prices=prices,
        now=clock.now,
        random_bits=clock.random_bits,
        new_id=clock.new_id,
        wakeup=web_wakeup,
        public_url=public_url,
        wake_worker=worker_wakeup.ring,
        limits=_limits(settings),
        allowed=allowed,
        slots=settings.provider_slots,
        is_draining=draining.is_set,
        seen=seen.request,
    )
    return Parts(
        database=database,
        encryptor=encryptor,
        tools=tools,
        submit=submit,
        ingest=ingest,
        worker=worker,
        deliver=deliver,
        draining=draining,
    )


def provider_of(settings: Settings, url: str) -> Provider:
    dialect = DIALECTS[settings.provider_dialect]
    if settings.provider_hook_fields:
        dialect = dialect.with_hook_fields(settings.provider_hook_fields)
    key = settings.provider_key.get_secret_value() if settings.provider_key else SANDBOX_KEY
    return Provider(
        url=url,
        key=key,
        dialect=dialect,
        submit_timeout=settings.provider_timeout.total_seconds(),
        poll_timeout=min(15.0, settings.provider_timeout.total_seconds()),
        max_response=settings.answer_limit,
    )


def _worker(
    settings: Settings,
    database: Database,
    endpoint: WebhookClient,
    provider: Provides,
    ingest: Ingest,
    send: Send,
    encryptor: Encryptor,
    wakeups: tuple[Wakeup, Wakeup],
    seen: Insight,
    budget: Budget,
) -> tuple[Deliver, Worker]:
    """`wakeups` ring for what is to be delivered, and for a slot that may be free."""
    wakeup, slot_wakeup = wakeups
    deliver = Deliver(
        database,
        seen.endpoint(endpoint),
        schedule=Schedule(tuple(wait.total_seconds() for wait in settings.retry_schedule)),
        now=clock.now,
        chance=clock.random_fraction,
        source=settings.own_url,
        concurrency=settings.delivery_concurrency,
        observe=seen.attempt,
        observe_batch=seen.attempts,
    )
    feed = Fetch(
        database,
        deliver,
        worker=clock.new_id(clock.now()),
        wakeup=wakeup,
        now=clock.now,
        new_id=clock.new_id,
        open_secrets=lambda target: _secrets(encryptor, target),
        log=seen.log.said,
    )
    sweep = Sweep(
        database,
        provider,
        ingest,
        send,
        now=clock.now,
        chance=clock.random_fraction,
        new_id=clock.new_id,
        sweep_after=settings.sweep_after,
        deadline=settings.task_deadline,
        retention=settings.retention,
        moved=slot_wakeup if settings.provider_slots else None,
        swept=seen.swept,
        log=seen.log.said,
    )
    survey = FleetStats(
        database, owns=lambda: SHARD in feed.shards, show=seen.metrics.figures, now=clock.now, log=seen.log.said
    )
    return deliver, Worker(deliver, feed, sweep, budget, survey)


def _secrets(encryptor: Encryptor, target: Recipient) -> tuple[tuple[str, ...], dict[str, str]]:
    own = headers.decrypt(encryptor, target.id, target.headers)
    if target.secrets:
        return tuple(secrets.decrypt_secrets(encryptor, target.id, target.secrets)), own
    return (secrets.decrypt_hook_secret(encryptor, target.client, target.hook_secret),), own


def _limits(settings: Settings) -> Limits:
    return Limits(
        order_bytes=settings.order_body_limit,
        callback_bytes=settings.callback_body_limit,
        header_bytes=settings.header_limit,
        json_depth=settings.json_depth,
        in_flight=settings.subscription_concurrency,
        body_seconds=settings.body_timeout.total_seconds(),
        idle_seconds=settings.idle_timeout.total_seconds(),
        waiters=settings.waiters,
        streams_per_key=settings.streams_per_key,
        rate=settings.rate_limit,
        burst=2 * settings.rate_limit if settings.rate_limit else 100,
    )
