"""Kling's account: the resource packs in GET /account/costs, as exact figures.

The figures arrive as JSON numbers. They are up to twelve hours old (Kling's documents), and include everything else
that spends from the same account.
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
    """One resource pack. `used` is the part that is spent."""

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
        raise UnreadableError(f"larger than {MAX_BYTES} bytes")
    try:
        answer = json.loads(body, parse_float=Decimal, parse_constant=lambda _: None)
    except (ValueError, RecursionError):
        raise UnreadableError("not JSON") from None
    data = answer.get("data") if isinstance(answer, dict) else None
    packs = data.get("resource_pack_subscribe_infos") if isinstance(data, dict) else None
    if not isinstance(packs, list):
        raise UnreadableError("no list of resource packs")
    return [_pack(pack) for pack in packs[:_MAX_PACKS] if isinstance(pack, dict)]


def _pack(value: dict[str, Any]) -> ResourcePack:
    return ResourcePack(
        name=clean(str(value.get("resource_pack_name", "")), 200),
        status=clean(str(value.get("status", "")), 40),
        total=_figure(value.get("total_quantity")),
        remaining=_figure(value.get("remaining_quantity")),
    )


def _figure(value: object) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | Decimal) or not 0 <= value <= MAX_AMOUNT:
        raise UnreadableError("a quantity is not a valid figure")
    return Decimal(value).quantize(PLACES)
