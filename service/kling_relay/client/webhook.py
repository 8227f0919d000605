"""Deliveries at the subscriber: verified by the Standard Webhooks library and parsed, in any of the three formats."""

from collections.abc import Mapping, Sequence
from json import loads
from typing import Any

from standardwebhooks import Webhook, WebhookVerificationError

from kling_relay.client.errors import ForgedError
from kling_relay.client.models import Event


def verify(secret: str | Sequence[str], headers: Mapping[str, str], body: bytes | str) -> Event:
    """Return the event of a delivery, after checking its signature.

    `secret` is the subscription's `whsec_…`, or several during a rotation. `headers` are the request's, in any
    framework's mapping. `body` is the request's body, byte for byte. Raises ForgedError if the signature is not valid
    or is more than five minutes off, and ValueError for a malformed secret.
    """
    lower = {str(name).lower(): text for name, text in headers.items()}
    for hook in [Webhook(text) for text in ([secret] if isinstance(secret, str) else secret)]:
        try:
            hook.verify(body, lower, json_parse=False)
        except (WebhookVerificationError, ValueError):  # the headers of a forged request may be anything
            continue
        return _event(lower["webhook-id"], loads(body))
    raise ForgedError("The signature does not match this secret, or is more than five minutes off.")


def _event(name: str, content: Mapping[str, Any]) -> Event:
    """Return the event in a body of any of the three formats: standard, CloudEvents, Kling's flat callback."""
    if "specversion" in content:
        return Event(id=name, type=content["type"], timestamp=content["time"], data=content["data"])
    if "data" in content:
        return Event(id=name, type=content["type"], timestamp=content["timestamp"], data=content["data"])
    return Event(id=name, type=f"task.{content['task_status']}", timestamp=str(content["updated_at"]), data=content)
