"""Kling's account: the resource packs that GET /account/costs lists, read into exact figures.

The figures come as JSON numbers, are up to twelve hours old (Kling's documents), and count whatever else spends from
the same account.
"""

import json
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from kling_relay.core.money import MAX_AMOUNT, PLACES
from kling_relay.core.untrusted import MAX_BYTES, UnreadableError, clean

_MAX_PACKS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourcePack:
    """One resource pack; `used` is what is gone of it."""

    name: str
    status: str
    total: Decimal
    remaining: Decimal

    @property
    def used(self) -> Decimal:
        return self.total - self.remaining


def read_packs(body: bytes) -> list[ResourcePack]:
    """Return the packs in an answer to GET /account/costs. Raises Unreadable."""
    if len(body) > MAX_BYTES:
        raise UnreadableError("larger than an account's answer can be")
    try:
        answer = json.loads(body, parse_float=Decimal, parse_constant=lambda _: None)
    except (ValueError, RecursionError):
        raise UnreadableError("not JSON") from None
    given = answer.get("data") if isinstance(answer, dict) else None
    listed = given.get("resource_pack_subscribe_infos") if isinstance(given, dict) else None
    if not isinstance(listed, list):
        raise UnreadableError("no list of resource packs")
    return [_pack(each) for each in listed[:_MAX_PACKS] if isinstance(each, dict)]


def _pack(written: dict[str, Any]) -> ResourcePack:
    return ResourcePack(
        name=clean(str(written.get("resource_pack_name", "")), 200),
        status=clean(str(written.get("status", "")), 40),
        total=_figure(written.get("total_quantity")),
        remaining=_figure(written.get("remaining_quantity")),
    )


def _figure(written: object) -> Decimal:
    if isinstance(written, bool) or not isinstance(written, int | Decimal) or not 0 <= written <= MAX_AMOUNT:
        raise UnreadableError("a quantity is no figure")
    return Decimal(written).quantize(PLACES)
