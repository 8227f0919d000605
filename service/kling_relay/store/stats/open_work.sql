-- name: open_tasks
-- The client's newest tasks that are not final, the longest without an update first, with the slots they hold.
SELECT open.id, open.updated_at, submissions.units
FROM (
    SELECT recent.id, recent.updated_at
    FROM (
        SELECT tasks.id, tasks.status, tasks.updated_at
        FROM tasks
        WHERE tasks.client = :client::uuid
        ORDER BY tasks.id DESC
        LIMIT :window::bigint
    ) AS recent
    WHERE recent.status IN ('recorded', 'submitted', 'processing')
) AS open
LEFT JOIN submissions
    ON submissions.task = open.id AND submissions.state IN ('sending', 'accepted', 'unknown')
ORDER BY open.updated_at;

-- name: final_events_of_failed
-- The final events of the client's newest failed tasks.
SELECT events.body
FROM (
    SELECT recent.id, recent.sequence
    FROM (
        SELECT tasks.id, tasks.status, tasks.sequence
        FROM tasks
        WHERE tasks.client = :client::uuid AND tasks.id >= :low::uuid
        ORDER BY tasks.id DESC
        LIMIT :window::bigint
    ) AS recent
    WHERE recent.status IN ('failed', 'expired')
    ORDER BY recent.id DESC
    LIMIT :limit::bigint
) AS failed
JOIN events ON events.subject = failed.id AND events.sequence = failed.sequence;

-- name: pending_counts
-- By subscription: its pending and its exhausted deliveries, up to a limit, and when the next attempt is made: at the
-- probe if it is broken, at no time if it is paused or disabled.
SELECT subscription.id, due.count AS pending, exhausted.count AS exhausted,
    CASE
        WHEN state.paused_at IS NULL AND state.disabled_at IS NULL AND next.due_at IS NOT NULL
        THEN greatest(next.due_at, state.probe_at)
    END AS next_at
FROM unnest(:subscription_id::uuid[], :subscription_shard::smallint[]) AS subscription (id, shard)
CROSS JOIN LATERAL (
    SELECT count(*) AS count
    FROM (
        SELECT FROM pending_deliveries AS pending
        WHERE pending.shard = subscription.shard AND pending.subscription = subscription.id
          AND pending.due_at < 'infinity'
        LIMIT :limit::bigint
    ) AS counted
) AS due
CROSS JOIN LATERAL (
    SELECT count(*) AS count
    FROM (
        SELECT FROM pending_deliveries AS pending
        WHERE pending.shard = subscription.shard AND pending.subscription = subscription.id
          AND pending.due_at = 'infinity'
        LIMIT :limit::bigint
    ) AS counted
) AS exhausted
LEFT JOIN LATERAL (
    SELECT pending.due_at
    FROM pending_deliveries AS pending
    WHERE pending.shard = subscription.shard AND pending.subscription = subscription.id
      AND pending.due_at < 'infinity'
    ORDER BY pending.due_at
    LIMIT 1
) AS next ON true
LEFT JOIN subscriptions AS state ON state.id = subscription.id;

-- name: unattempted
-- The tasks with a delivery that was not attempted yet: a backlog, or a paused subscription.
SELECT pending.subject
FROM unnest(:subscription_id::uuid[], :subscription_shard::smallint[]) AS subscription (id, shard)
CROSS JOIN LATERAL (
    SELECT pending_deliveries.subject
    FROM pending_deliveries
    WHERE pending_deliveries.shard = subscription.shard
      AND pending_deliveries.subscription = subscription.id
      AND pending_deliveries.attempt = 0
      AND pending_deliveries.due_at < 'infinity'
    ORDER BY pending_deliveries.due_at
    LIMIT :limit::bigint
) AS pending
LIMIT :limit::bigint;
