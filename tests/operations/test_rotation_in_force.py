"""Once `rotate-secret` has answered, every worker signs with the new secret, whatever it had read before."""

import asyncio

import pytest
from standardwebhooks import Webhook
from standardwebhooks.webhooks import WebhookVerificationError

from tests.support.service import Heard, Relay, Subscriber, running, sandboxed, subscriber
from tests.support.waiting import eventually

pytestmark = pytest.mark.long


def is_signed(heard: Heard, secret: str) -> bool:
    try:
        Webhook(secret).verify(heard.raw.decode(), heard.headers)
    except WebhookVerificationError:
        return False
    return True


async def order_until(relay: Relay, stopping: asyncio.Event) -> None:
    while not stopping.is_set():
        await relay.submit()
        await asyncio.sleep(0.02)  # a steady stream of events


async def rotated(relay: Relay, hook: Subscriber, path: str, **body: int) -> tuple[str, list[Heard]]:
    """Rotate while events flow; return the new secret and what was delivered from the response on."""
    stopping = asyncio.Event()
    flow = asyncio.ensure_future(order_until(relay, stopping))
    try:
        await eventually(lambda: len(hook.heard) > 5)
        status, answer = await relay.call("POST", path, json=body)
        assert status == 200, answer
        seen = len(hook.heard)
        await eventually(lambda: len(hook.heard) > seen + 20, 20)
    finally:
        stopping.set()
        await flow
    return answer["secret"], hook.heard[seen:]


async def test_every_delivery_has_both_signatures_from_the_answer_to_a_rotation_on(database: str) -> None:
    async with (
        sandboxed() as (_, provider),
        subscriber() as hook,
        running(database, provider, role="worker"),
        running(database, provider) as relay,
    ):
        subscription = await relay.subscribe(hook.url)
        path = f"/v1/subscriptions/{subscription['id']}/rotate-secret"
        secret, later = await rotated(relay, hook, path, overlap_seconds=600)
        assert all(is_signed(heard, secret) and is_signed(heard, subscription["secret"]) for heard in later)


async def test_no_delivery_has_the_old_signature_after_a_rotation_without_an_overlap(database: str) -> None:
    async with sandboxed() as (_, provider), subscriber() as hook, running(database, provider) as relay:
        subscription = await relay.subscribe(hook.url)
        path = f"/v1/subscriptions/{subscription['id']}/rotate-secret"
        secret, later = await rotated(relay, hook, path, overlap_seconds=0)
        assert all(is_signed(heard, secret) and not is_signed(heard, subscription["secret"]) for heard in later)
