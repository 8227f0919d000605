-- name: close
-- Mark a subscription as deleted, so that nothing more is written for it.
UPDATE subscriptions
SET deleted_at = :now::timestamptz, disabled_at = :now::timestamptz, disabled_reason = 'deleted',
    updated_at = :now::timestamptz
WHERE id = :id::uuid AND client = :client::uuid AND deleted_at IS NULL
RETURNING id;

-- name: close_unused_hooks
-- Mark some hooks as deleted that no order has named for so long. What somebody else has locked is in use.
UPDATE subscriptions
SET deleted_at = :now::timestamptz, disabled_at = :now::timestamptz, disabled_reason = 'deleted',
    updated_at = :now::timestamptz
WHERE id = ANY(ARRAY(
    SELECT id FROM subscriptions
    WHERE hook AND coalesce(last_used_at, updated_at) < :unused_since::timestamptz AND deleted_at IS NULL
    ORDER BY coalesce(last_used_at, updated_at)
    LIMIT :limit::bigint
    FOR UPDATE SKIP LOCKED
))
RETURNING id;

-- name: list_closed
-- Some subscriptions that are marked as deleted, as after a crash in between.
SELECT id FROM subscriptions WHERE deleted_at IS NOT NULL ORDER BY deleted_at LIMIT :limit::bigint;

-- name: delete_pending
-- Delete some pending deliveries of subscriptions that are marked as deleted, and return how many there were. The locks
-- keep an order from bringing its hook back meanwhile, whose new deliveries would be lost.
WITH closed AS MATERIALIZED (
    SELECT id FROM subscriptions WHERE id = ANY(:ids::uuid[]) AND deleted_at IS NOT NULL ORDER BY id FOR UPDATE
),
pending AS MATERIALIZED (
    SELECT page.place
    FROM closed
    CROSS JOIN LATERAL (
        SELECT ctid AS place FROM pending_deliveries
        WHERE shard = get_byte(uuid_send(closed.id), 15) AND subscription = closed.id
        LIMIT :limit::bigint
    ) AS page
    LIMIT :limit::bigint
),
deleted AS (
    DELETE FROM pending_deliveries WHERE ctid = ANY(ARRAY(SELECT place FROM pending))
)
SELECT count(*) FROM pending;

-- name: delete_closed
-- Delete subscriptions that are marked as deleted.
DELETE FROM subscriptions WHERE id = ANY(:ids::uuid[]) AND deleted_at IS NOT NULL;
