"""Subscriptions, deliveries and money."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, TypedDict, Unpack

from kling_relay.client import models
from kling_relay.client.models import Delivery, Subscription, Usage
from kling_relay.client.tasks import Moment, pages, rfc3339
from kling_relay.client.transport import Transport


class SubscriptionOptions(TypedDict, total=False):
    """The optional properties of a subscription; the API sets the defaults."""

    events: Sequence[str] | None
    description: str | None
    headers: Mapping[str, str] | None
    format: str | None
    ordering: str | None
    max_in_flight: int | None


class Subscriptions:
    """The methods of `Relay` for subscriptions, deliveries and money."""

    _transport: Transport

    async def subscribe(self, url: str, **options: Unpack[SubscriptionOptions]) -> Subscription:
        """Subscribe an address to events. Only this answer has the secret."""
        body = {"url": url, **_set_members(options)}
        return models.read_subscription(await self._transport.request("POST", "/v1/subscriptions", body=body))

    async def subscriptions(self, *, limit: int | None = None) -> AsyncGenerator[Subscription, None]:
        """Yield the subscriptions, newest first."""
        async for content in pages(self._transport, "/v1/subscriptions", {}, limit):
            yield models.read_subscription(content)

    async def subscription(self, subscription_id: str) -> Subscription:
        """Return one subscription. Raises NotFoundError."""
        return models.read_subscription(await self._transport.request("GET", _path(subscription_id)))

    async def change_subscription(
        self, subscription_id: str, *, url: str | None = None, **options: Unpack[SubscriptionOptions]
    ) -> Subscription:
        """Change the given properties of a subscription."""
        body = _set_members({"url": url, **options})
        return models.read_subscription(await self._transport.request("PATCH", _path(subscription_id), body=body))

    async def unsubscribe(self, subscription_id: str) -> None:
        """Delete a subscription with its pending deliveries."""
        await self._transport.request("DELETE", _path(subscription_id))

    async def test_subscription(self, subscription_id: str) -> Mapping[str, Any]:
        """Deliver a test event, and return the ids of the delivery and the event."""
        return _members(await self._transport.request("POST", _path(subscription_id, "/test"), body={}))

    async def pause(self, subscription_id: str) -> Subscription:
        """Hold deliveries back until `resume`."""
        return models.read_subscription(
            await self._transport.request("POST", _path(subscription_id, "/pause"), body={})
        )

    async def resume(self, subscription_id: str) -> Subscription:
        """Deliver again after a pause, or after the service disabled the subscription."""
        return models.read_subscription(
            await self._transport.request("POST", _path(subscription_id, "/resume"), body={})
        )

    async def rotate_secret(self, subscription_id: str, *, overlap_seconds: int | None = None) -> str:
        """Replace the secret and return the new one. The old one is valid for `overlap_seconds` more, or a day."""
        body = _set_members({"overlap_seconds": overlap_seconds})
        answer = await self._transport.request("POST", _path(subscription_id, "/rotate-secret"), body=body)
        return str(answer["secret"])

    async def replay(
        self, subscription_id: str, *, since: Moment, until: Moment | None = None, only: str | None = None
    ) -> int:
        """Deliver the events of a period again, `only` "failed" (the default) or "all" of them. Return their number."""
        body = _set_members({"since": rfc3339(since), "until": rfc3339(until), "only": only})
        return int((await self._transport.request("POST", _path(subscription_id, "/replay"), body=body))["count"])

    async def hook_secret(self) -> str:
        """Return the secret that signs deliveries to the notify_hook of this client's orders."""
        return str((await self._transport.request("GET", "/v1/hook-secret"))["secret"])

    async def deliveries(
        self,
        *,
        subscription: str | None = None,
        status: str | None = None,
        event: str | None = None,
        task: str | None = None,
        limit: int | None = None,
    ) -> AsyncGenerator[Delivery, None]:
        """Yield the deliveries, newest first; `status` is pending, delivered or exhausted."""
        query = {"subscription": subscription, "status": status, "event": event, "task": task}
        async for content in pages(self._transport, "/v1/deliveries", query, limit):
            yield models.read_delivery(content)

    async def delivery(self, delivery_id: str) -> Delivery:
        """Return one delivery with its attempts. Raises NotFoundError."""
        return models.read_delivery(await self._transport.request("GET", f"/v1/deliveries/{delivery_id}"))

    async def retry_delivery(self, delivery_id: str) -> Delivery:
        """Attempt a delivery again now, in any state."""
        return models.read_delivery(
            await self._transport.request("POST", f"/v1/deliveries/{delivery_id}/retry", body={})
        )

    async def retry_deliveries(
        self,
        *,
        subscription: str | None = None,
        status: str | None = None,
        event: str | None = None,
        task: str | None = None,
        limit: int | None = None,
    ) -> int:
        """Attempt the selected deliveries again now, by default the exhausted ones. Return their number."""
        filters = {"subscription": subscription, "status": status, "event": event, "task": task, "limit": limit}
        return int((await self._transport.request("POST", "/v1/deliveries/retry", body=_set_members(filters)))["count"])

    async def usage(
        self, *, since: Moment | None = None, until: Moment | None = None, by: Sequence[str] | str | None = None
    ) -> Usage:
        """Return what was ordered and charged, grouped by day, month, kind, model, mode, key, client or currency."""
        query = {"since": rfc3339(since), "until": rfc3339(until), "by": by}
        return models.read_usage(await self._transport.request("GET", "/v1/usage", query=query))

    async def budget(self) -> Mapping[str, Any]:
        """Return the limits of this client and this key, and the amounts spent and left."""
        return _members(await self._transport.request("GET", "/v1/budget"))

    async def prices(self) -> Mapping[str, Any]:
        """Return the current price list."""
        return _members(await self._transport.request("GET", "/v1/prices"))


def _path(subscription_id: str, rest: str = "") -> str:
    return f"/v1/subscriptions/{subscription_id}{rest}"


def _set_members(members: Mapping[str, Any]) -> dict[str, Any]:
    """Return the members that are not None."""
    return {name: value for name, value in members.items() if value is not None}


def _members(content: Any) -> Mapping[str, Any]:
    return content if isinstance(content, Mapping) else {}
