"""Wiring: makes the parts of one process, each once, and passes them to those that use them."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import datetime

from kling_relay.app import clock
from kling_relay.app.allocator import return_free_memory
from kling_relay.app.signing_keys import signing_keys
from kling_relay.app.telemetry import Telemetry
from kling_relay.app.worker import Worker
from kling_relay.core import callback_token
from kling_relay.core.address import DialPolicy
from kling_relay.core.schedule import Schedule
from kling_relay.destinations.webhook import WebhookClient
from kling_relay.flows.budget import Budget
from kling_relay.flows.clients import ProviderClient, SubscriberClient
from kling_relay.flows.database_clock import ClockKeeper, DatabaseClock
from kling_relay.flows.deliver import Deliver
from kling_relay.flows.event_memory import EventMemory
from kling_relay.flows.fair_shares import CAPACITY
from kling_relay.flows.fetch import Fetch, FetchTunables
from kling_relay.flows.fleet_stats import SHARD, FleetStats
from kling_relay.flows.ingest import Ingest, IngestTunables
from kling_relay.flows.memory import BodyMemory, MemoryLimits
from kling_relay.flows.observer import Observer
from kling_relay.flows.partition_keeper import PartitionKeeper
from kling_relay.flows.poll import PollTunables
from kling_relay.flows.send import Send, SendTunables
from kling_relay.flows.submit import Submit, SubmitTunables
from kling_relay.flows.sweep import Sweep, SweepTunables
from kling_relay.flows.wakeup import Wakeup
from kling_relay.observe.traced import TracedIngest, TracedProvider, TracedSubmit, TracedWebhookClient
from kling_relay.provider.client import Provider
from kling_relay.provider.dialects import DIALECTS
from kling_relay.provider.price_file import load_prices
from kling_relay.provider.rulebook_file import load_rulebook
from kling_relay.settings import Settings, provider_proxy
from kling_relay.store.access import secrets, subscription_headers
from kling_relay.store.access.encryption import Encryptor
from kling_relay.store.deliveries.recipients import Recipient
from kling_relay.store.postgres.database import Database, deployment_id
from kling_relay.web.http.context import Context, RequestLimits

__all__ = ["Parts", "assemble"]
SANDBOX_KEY = "hk-sandbox"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tunables:
    """What is not a setting because nobody has to change it, except a test."""

    ingest: IngestTunables = IngestTunables()
    submit: SubmitTunables = SubmitTunables()
    send: SendTunables = SendTunables()
    fetch: FetchTunables = FetchTunables()
    sweep: SweepTunables = SweepTunables()
    poll: PollTunables = PollTunables()


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a process is made of, whatever its role."""

    database: Database
    encryptor: Encryptor
    context: Context
    submit: Submit
    ingest: Ingest
    worker: Worker
    partition_keeper: PartitionKeeper
    clock_keeper: ClockKeeper
    draining: asyncio.Event


async def assemble(
    stack: AsyncExitStack,
    settings: Settings,
    database: Database,
    provider_url: str,
    telemetry: Telemetry,
    tunables: Tunables = Tunables(),
) -> Parts:
    """Make the parts. `stack` closes those that must be closed, in reverse order."""
    keys = signing_keys(settings)
    encryptor = Encryptor(keys)
    web_wakeup, delivery_wakeup, slot_wakeup, partition_wakeup = Wakeup(), Wakeup(), Wakeup(), Wakeup()
    draining = asyncio.Event()
    observer, tracer = telemetry.observer, telemetry.tracer
    database_clock = DatabaseClock(machine_now=clock.now, elapsed=clock.elapsed)
    clock_keeper = ClockKeeper(database, database_clock, observer=observer)
    await clock_keeper.read()
    now = database_clock.now
    memory_limits = MemoryLimits(bodies=settings.body_memory, copies=2 * settings.order_body_limit)
    memory = BodyMemory(memory_limits, trim=return_free_memory)
    client = await stack.enter_async_context(provider_of(settings, provider_url))
    provider = TracedProvider(client, tracer) if tracer else client
    ports = tuple(range(span.first, span.last + 1) for span in settings.allowed_ports)
    dial_policy = DialPolicy(networks=tuple(settings.allowed_networks), ports=ports)
    webhooks = await stack.enter_async_context(
        WebhookClient(
            allowed=dial_policy,
            timeout=settings.delivery_timeout.total_seconds(),
            max_lookups=(CAPACITY + 1) * settings.delivery_concurrency,  # some outlive their attempts
        )
    )
    rulebook = load_rulebook(settings.rulebook)
    prices = load_prices(settings.prices, rulebook.kinds)
    budget = Budget(
        database,
        currency=prices.currency,
        now=now,
        new_id=clock.new_id,
        wakeups=[web_wakeup, delivery_wakeup],
        observer=observer,
    )
    ingest = _ingest(settings, database, [web_wakeup, delivery_wakeup, slot_wakeup], observer, tunables)
    send = _send(settings, database, provider, ingest, keys, now, memory, observer, tunables)
    submit = Submit(
        database,
        send,
        prices=prices,
        body_of=client.order_body,
        new_id=clock.new_id,
        budget=budget,
        memory=memory,
        tunables=tunables.submit,
    )
    subscribers = TracedWebhookClient(webhooks, tracer) if tracer else webhooks
    deliver, fetch = _deliveries(settings, database, subscribers, encryptor, delivery_wakeup, now, observer, tunables)
    sweep = _sweep(settings, database, provider, ingest, send, slot_wakeup, now, observer, tunables)
    stats = FleetStats(
        database,
        is_owner=lambda: SHARD in fetch.shards,
        now=now,
        retention=settings.retention,
        observer=observer,
    )
    telemetry.metrics.watch(
        callbacks=lambda: ingest.waiting,
        attempts=lambda: deliver.in_flight,
        unsettled_attempts=lambda: deliver.settlement.waiting,
        queues=lambda: len(deliver.queues),
    )
    context = Context(
        submit=TracedSubmit(submit, tracer) if tracer else submit,
        ingest=TracedIngest(ingest, tracer) if tracer else ingest,
        database=database,
        encryptor=encryptor,
        callback_keys=keys,
        rulebook=rulebook,
        prices=prices,
        now=now,
        random_bits=clock.random_bits,
        new_id=clock.new_id,
        web_wakeup=web_wakeup,
        public_url=settings.own_url,
        deployment=await deployment_id(database.pool),
        delivery_wakeup=delivery_wakeup,
        partition_missing=partition_wakeup,
        limits=_limits(settings),
        dial_policy=dial_policy,
        slots=settings.provider_slots,
        memory=memory,
        is_draining=draining.is_set,
        observer=observer,
    )
    return Parts(
        database=database,
        encryptor=encryptor,
        context=context,
        submit=submit,
        ingest=ingest,
        worker=Worker(deliver, fetch, (sweep, budget, stats)),
        partition_keeper=PartitionKeeper(
            database, now=now, retention=settings.retention, missing=partition_wakeup, observer=observer
        ),
        clock_keeper=clock_keeper,
        draining=draining,
    )


def _ingest(
    settings: Settings, database: Database, wakeups: list[Wakeup], observer: Observer, tunables: Tunables
) -> Ingest:
    secret = settings.provider_webhook_secret
    return Ingest(
        database,
        wakeups=wakeups,
        poll_after=settings.sweep_after.total_seconds(),
        secrets=[secret.get_secret_value()] if secret else [],
        confirm=settings.confirm_callbacks,
        json_depth=settings.json_depth,
        max_waiting=settings.ingest_queue,
        observer=observer,
        tunables=tunables.ingest,
    )


def _send(
    settings: Settings,
    database: Database,
    provider: ProviderClient,
    ingest: Ingest,
    keys: Sequence[bytes],
    now: Callable[[], datetime],
    memory: BodyMemory,
    observer: Observer,
    tunables: Tunables,
) -> Send:
    url = settings.own_url
    max_wait = min(tunables.send.max_wait, settings.task_deadline.total_seconds() / 10)
    claimed_for = max(tunables.send.claimed_for, 2 * settings.provider_timeout.total_seconds())
    return Send(
        database,
        provider,
        ingest,
        hook_of=lambda task: f"{url}/callbacks/{task}/{callback_token.make(keys, task)}",
        now=now,
        clocks=[clock.elapsed, lambda: clock.now().timestamp()],
        random_fraction=clock.random_fraction,
        new_id=clock.new_id,
        poll_after=min(settings.sweep_after.total_seconds(), 10.0),
        slots_limit=settings.provider_slots,
        memory=memory,
        observer=observer,
        tunables=replace(tunables.send, claimed_for=claimed_for, max_wait=max_wait),
    )


def _deliveries(
    settings: Settings,
    database: Database,
    subscribers: SubscriberClient,
    encryptor: Encryptor,
    wakeup: Wakeup,
    now: Callable[[], datetime],
    observer: Observer,
    tunables: Tunables,
) -> tuple[Deliver, Fetch]:
    deliver = Deliver(
        database,
        subscribers,
        schedule=Schedule(tuple(wait.total_seconds() for wait in settings.retry_schedule)),
        now=now,
        random_fraction=clock.random_fraction,
        source=settings.own_url,
        concurrency=settings.delivery_concurrency,
        memory=EventMemory(settings.delivery_memory),
        observer=observer,
    )
    fetch = Fetch(
        database,
        deliver,
        worker=clock.new_id(now()),
        wakeup=wakeup,
        now=now,
        new_id=clock.new_id,
        decrypt=lambda recipient: _decrypt(encryptor, recipient),
        observer=observer,
        tunables=tunables.fetch if settings.database_url else replace(tunables.fetch, idle_check_every=1.0),
    )
    return deliver, fetch


def _sweep(
    settings: Settings,
    database: Database,
    provider: ProviderClient,
    ingest: Ingest,
    send: Send,
    slot_freed: Wakeup,
    now: Callable[[], datetime],
    observer: Observer,
    tunables: Tunables,
) -> Sweep:
    return Sweep(
        database,
        provider,
        ingest,
        send,
        now=now,
        random_fraction=clock.random_fraction,
        new_id=clock.new_id,
        sweep_after=settings.sweep_after,
        deadline=settings.task_deadline,
        retention=settings.retention,
        slot_freed=slot_freed if settings.provider_slots else None,
        observer=observer,
        tunables=tunables.sweep,
        poll_tunables=tunables.poll,
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
        proxy=provider_proxy(settings, url),
    )


def _decrypt(encryptor: Encryptor, recipient: Recipient) -> tuple[tuple[str, ...], dict[str, str]]:
    """Return the secrets that sign for a recipient, and its headers. A hook is signed with its client's secret."""
    own_headers = subscription_headers.decrypt(encryptor, recipient.id, recipient.headers)
    if recipient.secrets:
        return tuple(secrets.decrypt_secrets(encryptor, recipient.id, recipient.secrets)), own_headers
    return (secrets.decrypt_hook_secret(encryptor, recipient.client, recipient.hook_secret),), own_headers


def _limits(settings: Settings) -> RequestLimits:
    return RequestLimits(
        order_bytes=settings.order_body_limit,
        callback_bytes=settings.callback_body_limit,
        header_bytes=settings.header_limit,
        json_depth=settings.json_depth,
        in_flight=settings.subscription_concurrency,
        body_seconds=settings.body_timeout.total_seconds(),
        idle_seconds=settings.idle_timeout.total_seconds(),
        unread_seconds=settings.unread_timeout.total_seconds(),
        waiters=settings.waiters,
        streams_per_key=settings.streams_per_key,
        rate=settings.rate_limit,
        burst=2 * (settings.rate_limit or 0),
        report_rate=settings.report_rate_limit,
        report_burst=2 * (settings.report_rate_limit or 0),
        report_seconds=settings.report_timeout.total_seconds(),
    )
