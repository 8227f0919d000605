"""Identifiers: UUIDv7, ordered by time, with a cell number.

The first 48 bits are the milliseconds since 1970, so range partitions by id are partitions by time. The twelve bits
after the version name the cell (one PostgreSQL of several) that made the id.
"""

import hashlib
from datetime import UTC, datetime, timedelta
from uuid import UUID

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)

MIN_ID = UUID(int=0)
MAX_ID = UUID(int=(1 << 128) - 1)

RANDOM_BITS = 62
"""The number of random bits in an id."""


def milliseconds(at: datetime) -> int:
    """Return `at` as whole milliseconds since 1970, as Kling writes its times."""
    since = at - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1000 + since.microseconds // 1000  # half the time of dividing


def from_milliseconds(at: int) -> datetime:
    """Return the aware UTC time `at` milliseconds after 1970 began."""
    return _EPOCH + at * _MILLISECOND


def new_id(now: datetime, random_bits: int, cell: int = 0) -> UUID:
    """Return a UUIDv7 (RFC 9562) made of the time `now`, 62 `random_bits` and a `cell` number below 4096."""
    return UUID(int=new_number(now, random_bits, cell))


def new_number(now: datetime, random_bits: int, cell: int = 0) -> int:
    """Return the 128 bits of an id made by `new_id`."""
    return (
        (milliseconds(now) & 0xFFFFFFFFFFFF) << 80
        | 0x7 << 76
        | (cell & 0xFFF) << 64
        | 0b10 << 62
        | (random_bits & ((1 << RANDOM_BITS) - 1))
    )


def lower_bound(at: datetime) -> UUID:
    """Return the smallest id that can be made at or after `at`: the bound of a partition or a page."""
    return UUID(int=(milliseconds(at) & 0xFFFFFFFFFFFF) << 80)


def creation_time(identifier: UUID) -> datetime:
    """Return the time at which a UUIDv7 was made, to the millisecond."""
    return from_milliseconds(identifier.int >> 80)


def hook_id(client: UUID, url: str) -> UUID:
    """Return the id of the subscription shared by all of `client`'s orders with this `notify_hook`."""
    return uuid_from_digest(hashlib.sha256(client.bytes + url.encode()).digest())


def uuid_from_digest(digest: bytes) -> UUID:
    """Return a UUIDv8 (RFC 9562: custom content) made of the first 122 bits of `digest`."""
    number = int.from_bytes(digest[:16], "big")
    number = number & ~(0xF << 76) | 0x8 << 76
    return UUID(int=number & ~(0b11 << 62) | 0b10 << 62)
