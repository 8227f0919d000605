"""Identifiers: UUIDv7, time-ordered, with room for a cell number.

The first 48 bits are the milliseconds since 1970, so that range partitions on an id are partitions
in time; the twelve bits after the version number name the cell (one PostgreSQL of several) that made it.
"""

import hashlib
from datetime import UTC, datetime, timedelta
from uuid import UUID

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)

MIN_ID = UUID(int=0)
MAX_ID = UUID(int=(1 << 128) - 1)

RANDOM_BITS = 62
"""How many bits of chance `new_id` takes."""


def milliseconds(at: datetime) -> int:
    """Return `at` as whole milliseconds since 1970, as Kling writes its times."""
    since = at - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1000 + since.microseconds // 1000  # half the time of a division


def from_milliseconds(at: int) -> datetime:
    """Return the aware UTC time of so many milliseconds since 1970."""
    return _EPOCH + at * _MILLISECOND


def new_id(now: datetime, chance: int, cell: int = 0) -> UUID:
    """Return a UUIDv7 (RFC 9562) of the time `now`, 62 bits of `chance` and a `cell` number below 4096."""
    return UUID(int=new_number(now, chance, cell))


def new_number(now: datetime, chance: int, cell: int = 0) -> int:
    """Return the 128 bits of `new_id`."""
    return (
        (milliseconds(now) & 0xFFFFFFFFFFFF) << 80
        | 0x7 << 76
        | (cell & 0xFFF) << 64
        | 0b10 << 62
        | (chance & ((1 << RANDOM_BITS) - 1))
    )


def lower_bound(at: datetime) -> UUID:
    """Return the smallest id that a time at or after `at` can have: a partition's or a page's edge."""
    return UUID(int=(milliseconds(at) & 0xFFFFFFFFFFFF) << 80)


def creation_time(identifier: UUID) -> datetime:
    """Return when a UUIDv7 was made, to the millisecond."""
    return from_milliseconds(identifier.int >> 80)


def hook_id(client: UUID, url: str) -> UUID:
    """Return the id of the subscription that `client`'s orders with this `notify_hook` share."""
    return uuid_from_digest(hashlib.sha256(client.bytes + url.encode()).digest())


def uuid_from_digest(digest: bytes) -> UUID:
    """Return the UUIDv8 (RFC 9562: of the maker's own making) of a digest's first 122 bits."""
    number = int.from_bytes(digest[:16], "big")
    number = number & ~(0xF << 76) | 0x8 << 76
    return UUID(int=number & ~(0b11 << 62) | 0b10 << 62)
