"""A subscription's own headers at rest: one sealed JSON object, since they may hold what lets us in at a subscriber.

Releases before 0004 kept them in the clear, in a column of that name. They are still read from there, also where such a
release runs beside this one, until they are changed or `keys reseal` comes by; this one writes them there no more.
"""

import json
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Text, case, func, literal_column

from kling_relay.store.access.encryption import Sealer
from kling_relay.store.access.secrets import context
from kling_relay.store.tables import subscriptions

NAME = "subscriptions.headers"
"""What they are sealed for."""
NONE_IN_CLEAR: ColumnElement[str] = literal_column("'{}'", Text)
KEPT: ColumnElement[bytes] = case(
    (subscriptions.c.headers != NONE_IN_CLEAR, func.convert_to(subscriptions.c.headers, literal_column("'UTF8'"))),
    else_=subscriptions.c.sealed_headers,
)
"""The headers of a row as they are kept: sealed, empty where there are none, or an older release's text."""


def seal(sealer: Sealer, subscription: UUID, headers: Mapping[str, str]) -> bytes:
    """Return the headers sealed for the subscription of this id; none are nothing."""
    return sealer.seal(json.dumps(dict(headers)).encode(), context(NAME, subscription)) if headers else b""


def unseal(sealer: Sealer, subscription: UUID, kept: bytes) -> dict[str, str]:
    """Return a subscription's headers; raises SealError."""
    if not kept:
        return {}
    found: dict[str, Any] = json.loads(kept if is_clear(kept) else sealer.open(kept, context(NAME, subscription)))
    return found


def is_clear(kept: bytes) -> bool:
    """Return whether this is an older release's text; what is sealed never begins like that."""
    return kept.startswith(b"{")
