-- name: lock
-- Let one process at a time count, so that none waits for another's rows in another order.
SELECT pg_advisory_xact_lock(:key::bigint);

-- name: expire
-- Delete, of a page of the pending deliveries of old tasks, those that nobody will make: all, or the exhausted ones and
-- those of a subscription that is paused, disabled or deleted, or without an event. Count them, except exhausted ones.
-- LIMIT keeps the planner from joining whole tables.
WITH page AS MATERIALIZED (
    SELECT ctid AS place, subject, sequence, subscription, due_at
    FROM pending_deliveries
    WHERE (subject, sequence, subscription) > (:subject::uuid, :sequence::smallint, :subscription::uuid)
        AND subject < :below::uuid
    ORDER BY subject, sequence, subscription
    LIMIT :limit::bigint
),
dead AS MATERIALIZED (
    SELECT page.place
    FROM page
    LEFT JOIN LATERAL (
        SELECT true AS is_open FROM subscriptions
        WHERE subscriptions.id = page.subscription
            AND subscriptions.paused_at IS NULL AND subscriptions.disabled_at IS NULL
        LIMIT 1
    ) AS subscription ON true
    LEFT JOIN LATERAL (
        SELECT true AS is_there FROM events
        WHERE events.subject = page.subject AND events.sequence = page.sequence
        LIMIT 1
    ) AS event ON true
    WHERE :everything::boolean OR page.due_at = 'infinity'::timestamptz
        OR subscription.is_open IS NULL OR event.is_there IS NULL
),
deleted AS (
    DELETE FROM pending_deliveries
    WHERE ctid = ANY(ARRAY(SELECT place FROM dead))
    RETURNING subscription, due_at
),
expired AS (
    SELECT subscription, count(*) AS deliveries FROM deleted
    WHERE due_at < 'infinity'::timestamptz
    GROUP BY subscription
),
counted AS (
    UPDATE subscriptions SET expired_deliveries = subscriptions.expired_deliveries + expired.deliveries
    FROM expired
    WHERE subscriptions.id = expired.subscription
),
total AS (
    UPDATE database_info
    SET expired_deliveries = expired_deliveries + (SELECT sum(deliveries) FROM expired)
    WHERE EXISTS (SELECT FROM expired)
)
SELECT subject, sequence, subscription, coalesce((SELECT sum(deliveries) FROM expired), 0)::bigint AS expired
FROM page
ORDER BY subject DESC, sequence DESC, subscription DESC
LIMIT 1;

-- name: total
-- How many deliveries have expired in all.
SELECT expired_deliveries FROM database_info;
