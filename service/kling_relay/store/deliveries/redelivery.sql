-- name: put_back
-- Make deliveries of one subscription due: pending ones at once, finished ones again, with their attempts counted. None
-- is made for a subscription that is being deleted, or of an event that is gone.
INSERT INTO pending_deliveries (subject, sequence, subscription, shard, attempt, due_at)
SELECT delivery.subject, delivery.sequence, :subscription::uuid, :shard::smallint,
    (
        SELECT coalesce(max(attempts.attempt), 0) FROM attempts
        WHERE attempts.subscription = :subscription::uuid
            AND attempts.subject = delivery.subject AND attempts.sequence = delivery.sequence
    ),
    now()
FROM unnest(:delivery_subject::uuid[], :delivery_sequence::smallint[]) AS delivery(subject, sequence)
JOIN events ON events.subject = delivery.subject AND events.sequence = delivery.sequence
WHERE EXISTS (SELECT FROM subscriptions WHERE id = :subscription::uuid AND deleted_at IS NULL)
ON CONFLICT (subject, sequence, subscription) DO UPDATE SET due_at = now();

-- name: replay_failed
-- Make due what is exhausted or waits for another attempt, of the events of a time.
UPDATE pending_deliveries
SET due_at = now()
FROM (
    SELECT subject, sequence
    FROM pending_deliveries
    WHERE shard = :shard::smallint AND subscription = :subscription::uuid
        AND (due_at = 'infinity'::timestamptz OR attempt > 0) AND due_at > now()
        AND EXISTS (
            SELECT FROM events
            WHERE events.subject = pending_deliveries.subject AND events.sequence = pending_deliveries.sequence
                AND events.at >= :since::timestamptz AND events.at < :until::timestamptz
        )
    LIMIT :limit::bigint
) AS failed
WHERE pending_deliveries.subject = failed.subject AND pending_deliveries.sequence = failed.sequence
    AND pending_deliveries.subscription = :subscription::uuid;

-- name: find_events
-- The client's next events of a time and of these types; for a hook, those of the tasks that named it.
SELECT tx, subject, sequence
FROM events
WHERE client = :client::uuid
    AND (tx, subject, sequence) > (:tx::bigint, :subject::uuid, :sequence::smallint) AND tx < {horizon}
    AND subject >= :low::uuid AND subject < :high::uuid
    AND at >= :since::timestamptz AND at < :until::timestamptz
    AND type = ANY(:types::text[])
    AND (
        NOT :is_hook::boolean
        OR EXISTS (SELECT FROM tasks WHERE tasks.id = events.subject AND tasks.hook = :subscription::uuid)
    )
ORDER BY tx, subject, sequence
LIMIT :limit::bigint;

-- name: publish_to
-- Write an event with its own subject, and its delivery to one subscription alone, unless that is being deleted.
WITH event AS (
    SELECT :subject::uuid AS subject, 1 AS sequence, :client::uuid AS client, :at::timestamptz AS at,
        :type::text AS type, :body::bytea AS body, NULL::text AS trace
    FROM subscriptions
    WHERE id = :subscription::uuid AND deleted_at IS NULL
),
recipient AS (
    SELECT subject, sequence, :subscription::uuid AS subscription FROM event
),
{fan_out}
SELECT true FROM event;
