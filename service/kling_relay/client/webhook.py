"""Deliveries at the subscriber: verified by the Standard Webhooks library, and read whatever their format."""

from collections.abc import Mapping, Sequence
from json import loads
from typing import Any

from standardwebhooks import Webhook, WebhookVerificationError

from kling_relay.client.errors import ForgedError
from kling_relay.client.models import Event


def verify(secret: str | Sequence[str], headers: Mapping[str, str], body: bytes | str) -> Event:
    """Return the event that a delivery brings. Raises ForgedError: nothing in it is to be believed then.

    `secret` is the subscription's `whsec_…`, or several while one is rotated; `headers` are the request's, in any
    framework's mapping; `body` is what came, byte for byte. A signature more than five minutes old or early fails.
    A secret that is none at all raises ValueError.
    """
    lower = {str(name).lower(): text for name, text in headers.items()}
    for hook in [Webhook(each) for each in ([secret] if isinstance(secret, str) else secret)]:
        try:
            hook.verify(body, lower, json_parse=False)
        except (WebhookVerificationError, ValueError):  # a stranger's headers may be anything
            continue
        return _event(lower["webhook-id"], loads(body))
    raise ForgedError("The signature is not by this secret, or is not of these five minutes.")


def _event(name: str, content: Mapping[str, Any]) -> Event:
    """Return the event in a body of any of the three formats: standard, CloudEvents, Kling's flat callback."""
    if "specversion" in content:
        return Event(id=name, type=content["type"], timestamp=content["time"], data=content["data"])
    if "data" in content:
        return Event(id=name, type=content["type"], timestamp=content["timestamp"], data=content["data"])
    return Event(id=name, type=f"task.{content['task_status']}", timestamp=str(content["updated_at"]), data=content)
