"""Where time and chance come from: the only place, so that everything else takes them as arguments."""

import random
import secrets
from datetime import UTC, datetime
from uuid import UUID

from kling_relay.core.ids import RANDOM_BITS, new_number
from kling_relay.store.postgres.statement import read_id


def now() -> datetime:
    """Return the present, in UTC."""
    return datetime.now(UTC)


def random_bits(count: int) -> int:
    """Return so many bits of chance that nobody can guess."""
    return secrets.randbits(count)


def random_fraction() -> float:
    """Return chance in [0, 1), for spreading things out; not for secrets."""
    return random.random()


def new_id(at: datetime) -> UUID:
    """Return a new id of the time `at`, as the driver has them: made and written out in a third of the time."""
    return read_id(new_number(at, random.getrandbits(RANDOM_BITS)).to_bytes(16, "big"))


def random_generator(seed: int | None = None) -> random.Random:
    """Return a generator of chance for the sandbox, the same for the same seed."""
    return random.Random(seed)
