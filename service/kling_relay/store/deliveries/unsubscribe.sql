-- name: close
-- Disable a subscription, so that no more is fanned out to it.
UPDATE subscriptions SET disabled_at = :now::timestamptz, disabled_reason = 'deleted', updated_at = :now::timestamptz
WHERE id = :id::uuid AND client = :client::uuid
RETURNING id;

-- name: delete_subscription
-- Delete a client's subscription.
DELETE FROM subscriptions WHERE id = :id::uuid AND client = :client::uuid;

-- name: delete_pending
-- Delete some of a subscription's pending deliveries.
DELETE FROM pending_deliveries
WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM pending_deliveries
    WHERE shard = :shard::smallint AND subscription = :id::uuid
    LIMIT :limit::bigint
));
