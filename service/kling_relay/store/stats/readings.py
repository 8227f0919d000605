"""What is read of the database as a whole now and then, by one worker for all of them.

No reading names a client, a task or a subscription, and each has a limit on what it costs
(`kling_relay.store.stats.fleet`).
"""

from collections.abc import Mapping
from dataclasses import dataclass

AGES = ("later", "under_1m", "under_10m", "under_1h", "under_6h", "over_6h", "exhausted")
"""For how long a delivery has been due; `later` waits for its next attempt, `exhausted` had its last one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BacklogReading:
    """Pending deliveries of subscriptions in one state: healthy, failing, or closed (paused or disabled).

    `by_age` counts deliveries by AGES; `oldest_due` is for how many seconds the oldest has been due.
    """

    subscriptions: int
    by_age: Mapping[str, int]
    oldest_due: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetReadings:
    """All readings of one time; durations are in seconds."""

    backlogs: Mapping[str, BacklogReading]
    """By state of subscription."""
    submissions: Mapping[str, int]
    """Tasks that are not final, by the state of their submission."""
    silent_tasks: int
    oldest_waiting: float
    """Age of the oldest order that was not sent yet."""
    slots_used: int
    oldest_snapshot: float
    """Age of the oldest transaction that holds back vacuum or the event log."""
    snapshot_span: int
    """Transactions begun since the oldest one that still runs."""
    partitions_ahead: float
    """Days for which every partitioned table has partitions."""
    retention_lag: float
    """For how long the oldest partition should have been dropped already."""
    expired_deliveries: int
    """Deliveries that have expired in all."""
    rows: Mapping[tuple[str, str], int]
    """Estimated rows by table and state (live, dead)."""
    seconds: float
    """How long these readings took."""
