"""Time and randomness. Nothing else reads a clock or rolls dice; everything takes them as arguments."""

import random
import secrets
import time
from datetime import UTC, datetime
from uuid import UUID

from kling_relay.core.ids import RANDOM_BITS, new_number
from kling_relay.store.postgres.statement import read_id

_BOOTTIME: int | None = getattr(time, "CLOCK_BOOTTIME", None)
"""Only Linux has it."""


def now() -> datetime:
    """Return the current time in UTC."""
    return datetime.now(UTC)


def elapsed() -> float:
    """Return seconds on a clock that nobody sets, and that on Linux goes on while the machine sleeps."""
    return time.monotonic() if _BOOTTIME is None else time.clock_gettime(_BOOTTIME)


def random_bits(count: int) -> int:
    """Return `count` random bits that nobody can guess."""
    return secrets.randbits(count)


def random_fraction() -> float:
    """Return a random number in [0, 1), for jitter; not for secrets."""
    return random.random()


def new_id(at: datetime) -> UUID:
    """Return a new id of the time `at`, as the driver's UUID, which is made and written in a third of the time."""
    return read_id(new_number(at, random.getrandbits(RANDOM_BITS)).to_bytes(16, "big"))


def random_generator(seed: int | None = None) -> random.Random:
    """Return a random number generator for the sandbox."""
    return random.Random(seed)
