-- name: backlog
-- By state of subscription: how many have pending deliveries, the oldest due, and counts of deliveries by age.
-- A recursive index scan finds the subscriptions of each shard, one step each.
WITH RECURSIVE walk (shard, subscription, due_at, step) AS (
    SELECT first.shard, first.subscription, first.due_at, 1
    FROM generate_series(0, :shards::integer - 1) AS every (shard)
    CROSS JOIN LATERAL (
        SELECT pending.shard, pending.subscription, pending.due_at
        FROM pending_deliveries AS pending
        WHERE pending.shard = every.shard
        ORDER BY pending.subscription, pending.due_at
        LIMIT 1
    ) AS first
    UNION ALL
    SELECT following.shard, following.subscription, following.due_at, walk.step + 1
    FROM walk
    CROSS JOIN LATERAL (
        SELECT pending.shard, pending.subscription, pending.due_at
        FROM pending_deliveries AS pending
        WHERE pending.shard = walk.shard AND pending.subscription > walk.subscription
        ORDER BY pending.subscription, pending.due_at
        LIMIT 1
    ) AS following
    WHERE walk.step < :max_subscriptions::integer
),
counts AS (
    SELECT
        delivery.subscription,
        count(*) FILTER (WHERE due_at > now() AND due_at < 'infinity') AS later,
        count(*) FILTER (WHERE due_at <= now() AND due_at > now() - interval '1 min') AS under_1m,
        count(*) FILTER (WHERE due_at <= now() - interval '1 min' AND due_at > now() - interval '10 min') AS under_10m,
        count(*) FILTER (WHERE due_at <= now() - interval '10 min' AND due_at > now() - interval '1 h') AS under_1h,
        count(*) FILTER (WHERE due_at <= now() - interval '1 h' AND due_at > now() - interval '6 h') AS under_6h,
        count(*) FILTER (WHERE due_at <= now() - interval '6 h') AS over_6h,
        count(*) FILTER (WHERE due_at = 'infinity') AS exhausted
    FROM (
        SELECT walk.subscription, counted.due_at
        FROM walk
        CROSS JOIN LATERAL (
            SELECT pending.due_at
            FROM pending_deliveries AS pending
            WHERE pending.shard = walk.shard AND pending.subscription = walk.subscription
            ORDER BY pending.due_at
            LIMIT :max_of_subscription::integer
        ) AS counted
        LIMIT :max_deliveries::integer
    ) AS delivery
    GROUP BY delivery.subscription
)
SELECT
    CASE
        WHEN subscriptions.paused_at IS NOT NULL OR subscriptions.disabled_at IS NOT NULL THEN 'closed'
        WHEN subscriptions.failing_since IS NOT NULL THEN 'failing'
        ELSE 'healthy'
    END AS state,
    count(*) AS subscriptions,
    coalesce(extract(epoch FROM now() - min(walk.due_at) FILTER (WHERE walk.due_at <= now())), 0)::float AS oldest_due,
    coalesce(sum(counts.later), 0)::bigint AS later,
    coalesce(sum(counts.under_1m), 0)::bigint AS under_1m,
    coalesce(sum(counts.under_10m), 0)::bigint AS under_10m,
    coalesce(sum(counts.under_1h), 0)::bigint AS under_1h,
    coalesce(sum(counts.under_6h), 0)::bigint AS under_6h,
    coalesce(sum(counts.over_6h), 0)::bigint AS over_6h,
    coalesce(sum(counts.exhausted), 0)::bigint AS exhausted
FROM walk
JOIN subscriptions ON subscriptions.id = walk.subscription
LEFT JOIN counts ON counts.subscription = walk.subscription
GROUP BY 1;
