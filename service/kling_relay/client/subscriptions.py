"""Subscriptions and deliveries: made, changed, tested, paused, replayed; looked at, and retried."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, TypedDict, Unpack

from kling_relay.client import models
from kling_relay.client.models import Delivery, Subscription, Usage
from kling_relay.client.tasks import Moment, moment, pages
from kling_relay.client.transport import Transport


class SubscriptionWishes(TypedDict, total=False):
    """What a subscription may say beside its address, as in the API; what is not given is as the API has it."""

    events: Sequence[str] | None
    description: str | None
    headers: Mapping[str, str] | None
    format: str | None
    ordering: str | None
    max_in_flight: int | None


class Subscriptions:
    """What a `Relay` does with subscriptions, deliveries and money."""

    _transport: Transport

    async def subscribe(self, url: str, **wishes: Unpack[SubscriptionWishes]) -> Subscription:
        """Subscribe an address to events; the answer holds the secret, this once."""
        body = {"url": url, **_given(wishes)}
        return models.read_subscription(await self._transport.ask("POST", "/v1/subscriptions", body=body))

    async def subscriptions(self, *, limit: int | None = None) -> AsyncGenerator[Subscription, None]:
        """Go through the subscriptions, newest first."""
        async for content in pages(self._transport, "/v1/subscriptions", {}, limit):
            yield models.read_subscription(content)

    async def subscription(self, subscription_id: str) -> Subscription:
        """Return one subscription. Raises NotFoundError."""
        return models.read_subscription(await self._transport.ask("GET", _path(subscription_id)))

    async def change_subscription(
        self, subscription_id: str, *, url: str | None = None, **wishes: Unpack[SubscriptionWishes]
    ) -> Subscription:
        """Change what is given, and leave the rest as it is."""
        body = _given({"url": url, **wishes})
        return models.read_subscription(await self._transport.ask("PATCH", _path(subscription_id), body=body))

    async def unsubscribe(self, subscription_id: str) -> None:
        """Delete a subscription and its pending deliveries."""
        await self._transport.ask("DELETE", _path(subscription_id))

    async def test_subscription(self, subscription_id: str) -> Mapping[str, Any]:
        """Have a test event delivered, and return the ids of the delivery and the event."""
        return _members(await self._transport.ask("POST", _path(subscription_id, "/test"), body={}))

    async def pause(self, subscription_id: str) -> Subscription:
        """Let deliveries gather until `resume`."""
        return models.read_subscription(await self._transport.ask("POST", _path(subscription_id, "/pause"), body={}))

    async def resume(self, subscription_id: str) -> Subscription:
        """Deliver again, also after the subscription was disabled."""
        return models.read_subscription(await self._transport.ask("POST", _path(subscription_id, "/resume"), body={}))

    async def rotate_secret(self, subscription_id: str, *, overlap_seconds: int | None = None) -> str:
        """Return a new secret; the old one signs beside it for so many seconds, a day unless given."""
        body = _given({"overlap_seconds": overlap_seconds})
        answer = await self._transport.ask("POST", _path(subscription_id, "/rotate-secret"), body=body)
        return str(answer["secret"])

    async def replay(
        self, subscription_id: str, *, since: Moment, until: Moment | None = None, only: str | None = None
    ) -> int:
        """Deliver again what was told between two times, `only` "failed" (usual) or "all"; return how many."""
        body = _given({"since": moment(since), "until": moment(until), "only": only})
        return int((await self._transport.ask("POST", _path(subscription_id, "/replay"), body=body))["count"])

    async def hook_secret(self) -> str:
        """Return the secret that signs what goes to the hooks of this client's orders."""
        return str((await self._transport.ask("GET", "/v1/hook-secret"))["secret"])

    async def deliveries(
        self,
        *,
        subscription: str | None = None,
        status: str | None = None,
        event: str | None = None,
        task: str | None = None,
        limit: int | None = None,
    ) -> AsyncGenerator[Delivery, None]:
        """Go through the deliveries, newest first; `status` pending, delivered or exhausted."""
        query = {"subscription": subscription, "status": status, "event": event, "task": task}
        async for content in pages(self._transport, "/v1/deliveries", query, limit):
            yield models.read_delivery(content)

    async def delivery(self, delivery_id: str) -> Delivery:
        """Return one delivery with its attempts. Raises NotFoundError."""
        return models.read_delivery(await self._transport.ask("GET", f"/v1/deliveries/{delivery_id}"))

    async def retry_delivery(self, delivery_id: str) -> Delivery:
        """Attempt a delivery again now, whatever became of it."""
        return models.read_delivery(await self._transport.ask("POST", f"/v1/deliveries/{delivery_id}/retry", body={}))

    async def retry_deliveries(
        self,
        *,
        subscription: str | None = None,
        status: str | None = None,
        event: str | None = None,
        task: str | None = None,
        limit: int | None = None,
    ) -> int:
        """Attempt again now all that a filter finds (exhausted, where no `status` is named); return how many."""
        filters = {"subscription": subscription, "status": status, "event": event, "task": task, "limit": limit}
        return int((await self._transport.ask("POST", "/v1/deliveries/retry", body=_given(filters)))["count"])

    async def usage(
        self, *, since: Moment | None = None, until: Moment | None = None, by: Sequence[str] | str | None = None
    ) -> Usage:
        """Return what was ordered and charged, by day, month, kind, model, mode, key, client or currency."""
        query = {"since": moment(since), "until": moment(until), "by": by}
        return models.read_usage(await self._transport.ask("GET", "/v1/usage", query=query))

    async def budget(self) -> Mapping[str, Any]:
        """Return what this client and this key may spend, have spent, and have left."""
        return _members(await self._transport.ask("GET", "/v1/budget"))

    async def prices(self) -> Mapping[str, Any]:
        """Return the price list in force."""
        return _members(await self._transport.ask("GET", "/v1/prices"))


def _path(subscription_id: str, rest: str = "") -> str:
    return f"/v1/subscriptions/{subscription_id}{rest}"


def _given(members: Mapping[str, Any]) -> dict[str, Any]:
    """Return the members that were given."""
    return {name: value for name, value in members.items() if value is not None}


def _members(content: Any) -> Mapping[str, Any]:
    return content if isinstance(content, Mapping) else {}
