"""Figures: what is read of the database as a whole now and then, by one worker for all of them.

No figure names a client, a task or a subscription; each is bounded in what it costs to read
(`kling_relay.store.stats.fleet`).
"""

from collections.abc import Mapping
from dataclasses import dataclass

AGES: tuple[tuple[str, float], ...] = (("under_1m", 60), ("under_10m", 600), ("under_1h", 3600), ("under_6h", 21600))
"""For how long a delivery is due, in seconds; what is older is OLDEST."""
OLDEST = "over_6h"
LATER = "later"
"""Not due: waits for its next attempt."""
EXHAUSTED = "exhausted"
"""The schedule is at its end; rests until retried by hand."""
EVERY_AGE = (LATER, *(name for name, _ in AGES), OLDEST, EXHAUSTED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """What is pending for subscriptions of one kind: healthy, failing, or closed (paused or disabled).

    `by_age` counts deliveries by EVERY_AGE; `oldest_due` is for how many seconds the oldest of them is due.
    """

    subscriptions: int
    by_age: Mapping[str, int]
    oldest_due: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """One reading; times in seconds."""

    queues: Mapping[str, Queue]
    submissions: Mapping[str, int]
    """Tasks that are not final, by the state of their submission."""
    silent_tasks: int
    oldest_waiting: float
    """Age of the oldest order that was not sent yet."""
    slots_used: int
    oldest_snapshot: float
    snapshot_span: int
    """Transactions begun since the oldest one that still runs."""
    partitions_ahead: float
    """Days for which every table has partitions."""
    rows: Mapping[tuple[str, str], int]
    """Estimated rows by table and state (live, dead)."""
    seconds: float
    """How long reading all this took."""
