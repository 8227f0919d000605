-- name: get_subscription
-- The subscription, if it is the client's.
SELECT id FROM subscriptions WHERE client = :client::uuid AND id = :id::uuid AND deleted_at IS NULL;

-- name: list_all
-- The client's subscriptions, and some of its hooks.
SELECT id, false AS is_hook FROM subscriptions WHERE client = :client::uuid AND NOT hook AND deleted_at IS NULL
UNION ALL
(SELECT id, true FROM subscriptions WHERE client = :client::uuid AND hook AND deleted_at IS NULL LIMIT :limit::bigint);

-- name: list_with_pending_hooks
-- The client's subscriptions, and its hooks among the newest pending deliveries of all clients up to the subject; last a
-- row with the oldest subject of those, if there are more. One statement, because deliveries come and go.
WITH newest AS MATERIALIZED (
    SELECT subject, subscription FROM pending_deliveries
    WHERE subject <= :subject::uuid
    ORDER BY subject DESC
    LIMIT :window::bigint
)
SELECT id, NULL::uuid AS oldest FROM subscriptions WHERE client = :client::uuid AND NOT hook AND deleted_at IS NULL
UNION ALL
SELECT subscriptions.id, NULL
FROM (SELECT DISTINCT subscription FROM newest) AS pending
JOIN subscriptions ON subscriptions.id = pending.subscription
WHERE subscriptions.client = :client::uuid AND subscriptions.hook AND subscriptions.deleted_at IS NULL
UNION ALL
SELECT NULL, (SELECT subject FROM newest ORDER BY subject LIMIT 1) FROM newest HAVING count(*) = :window::bigint;

-- name: list_with_recent_hooks
-- The client's subscriptions, and the hooks of its newest tasks up to the subject.
SELECT id FROM subscriptions WHERE client = :client::uuid AND NOT hook AND deleted_at IS NULL
UNION ALL
SELECT DISTINCT hook
FROM (
    SELECT hook FROM tasks
    WHERE client = :client::uuid AND id <= :subject::uuid
    ORDER BY id DESC
    LIMIT :window::bigint
) AS recent
WHERE hook IS NOT NULL;

-- name: list_with_hook_of
-- The client's subscriptions, and the hook of one of its tasks.
SELECT id FROM subscriptions WHERE client = :client::uuid AND NOT hook AND deleted_at IS NULL
UNION ALL
SELECT hook FROM tasks WHERE id = :subject::uuid AND client = :client::uuid AND hook IS NOT NULL;

-- name: find_window_end
-- The oldest task that `list_with_recent_hooks` looks at.
SELECT id FROM tasks
WHERE client = :client::uuid AND id <= :subject::uuid
ORDER BY id DESC
OFFSET :window::bigint - 1
LIMIT 1;
