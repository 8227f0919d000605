"""Fan-out: the SQL by which one statement writes events together with a delivery to each of their recipients.

Such a statement must define two CTEs, which `{fan_out}` reads: `event` (subject, sequence, client, at, type,
body, trace) and `recipient` (subject, sequence, subscription). NOT MATERIALIZED keeps them from being copied.

Recipients are read from `subscriptions`, without those that are marked as deleted: `unsubscribe.py` relies on it.
"""

from kling_relay.store.events.log import EVENT_TX

FAN_OUT = f"""
logged AS (
    INSERT INTO events (subject, sequence, client, tx, at, type, body, trace)
    SELECT subject, sequence, client, {EVENT_TX}, at, type, body, trace
    FROM event
),
delivery AS (
    INSERT INTO pending_deliveries (subject, sequence, subscription, shard, attempt, due_at)
    SELECT subject, sequence, subscription, get_byte(uuid_send(subscription), 15), 0, now()
    FROM recipient
)
""".strip()  # noqa: S608  (constants only)
"""The CTEs that write both. The shard is the last byte of a subscription's id (`core.subscription.shard_of`)."""


def recipients_select(family: str) -> str:
    """Return the SELECT of the recipients of events whose type begins with `family`: the client's open subscriptions
    that match the type. It may be followed by `AND` and another condition.
    """
    return f"""
    SELECT event.subject, event.sequence, subscriptions.id AS subscription
    FROM event
    JOIN subscriptions ON subscriptions.client = event.client AND NOT subscriptions.hook
        AND subscriptions.disabled_at IS NULL
        AND subscriptions.events && ARRAY['*', '{family}.*', event.type]
""".strip()  # noqa: S608  (constants only)
