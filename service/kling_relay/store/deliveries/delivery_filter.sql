-- name: get_subscription
-- The subscription, if it is the client's.
SELECT id FROM subscriptions WHERE client = :client::uuid AND id = :id::uuid;

-- name: list_all
-- Every subscription and hook of the client.
SELECT id FROM subscriptions WHERE client = :client::uuid;

-- name: list_with_recent_hooks
-- The client's subscriptions, and the hooks of its newest tasks up to the subject.
SELECT id FROM subscriptions WHERE client = :client::uuid AND NOT hook
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
SELECT id FROM subscriptions WHERE client = :client::uuid AND NOT hook
UNION ALL
SELECT hook FROM tasks WHERE id = :subject::uuid AND client = :client::uuid AND hook IS NOT NULL;

-- name: find_window_end
-- The oldest task that `list_with_recent_hooks` looks at.
SELECT id FROM tasks
WHERE client = :client::uuid AND id <= :subject::uuid
ORDER BY id DESC
OFFSET :window::bigint - 1
LIMIT 1;
