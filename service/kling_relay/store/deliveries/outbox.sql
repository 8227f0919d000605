-- name: discover
-- Each subscription with pending deliveries and its earliest: a loose index scan, one step per subscription.
WITH RECURSIVE walk AS (
    SELECT first.*
    FROM unnest(:owned_shard::smallint[]) AS owned(shard)
    JOIN LATERAL (
        SELECT shard, subscription, due_at FROM pending_deliveries
        WHERE shard = owned.shard
        ORDER BY subscription, due_at
        LIMIT 1
    ) AS first ON true
    UNION ALL
    SELECT following.*
    FROM walk
    JOIN LATERAL (
        SELECT shard, subscription, due_at FROM pending_deliveries
        WHERE shard = walk.shard AND subscription > walk.subscription
        ORDER BY subscription, due_at
        LIMIT 1
    ) AS following ON true
)
SELECT shard, subscription, due_at,
    extract(epoch FROM greatest(due_at - now(), interval '0'))::real AS due_in
FROM walk
WHERE due_at < 'infinity'::timestamptz;

-- name: list_fresh
-- The subscriptions with new deliveries since a moment ago.
SELECT DISTINCT subscription, shard
FROM pending_deliveries
WHERE attempt = 0 AND due_at > now() - :since::interval AND due_at <= now() AND shard = ANY(:shards::smallint[]);

-- name: read_due
-- The due deliveries of several subscriptions with their events, each from its cursor on. Large events have no body.
SELECT queue.subscription, due.attempt, due.due_at, due.subject, due.sequence,
    events.client, events.at, events.type, events.trace, octet_length(events.body) + 1024 AS size,
    CASE WHEN octet_length(events.body) + 1024 <= queue.max_size THEN events.body END AS body
FROM unnest(
    :queue_subscription::uuid[], :queue_shard::smallint[], :queue_cursor::timestamptz[],
    :queue_limit::integer[], :queue_max_size::integer[], :queue_ordered::boolean[]
) AS queue(subscription, shard, cursor, "limit", max_size, ordered)
JOIN LATERAL (
    SELECT subject, sequence, attempt, due_at
    FROM pending_deliveries
    WHERE shard = queue.shard AND subscription = queue.subscription
        AND due_at >= queue.cursor AND due_at <= now()
        AND (NOT queue.ordered OR NOT EXISTS (
            SELECT FROM pending_deliveries AS earlier
            WHERE earlier.subject = pending_deliveries.subject
                AND earlier.subscription = pending_deliveries.subscription
                AND earlier.sequence < pending_deliveries.sequence
                AND earlier.due_at < 'infinity'::timestamptz
        ))
    ORDER BY due_at
    LIMIT queue.limit
) AS due ON true
JOIN events ON events.subject = due.subject AND events.sequence = due.sequence;

-- name: settle
-- Log attempts, and delete their deliveries or make them due again. The number fences off former owners up to the last.
WITH done AS NOT MATERIALIZED (
    SELECT *
    FROM unnest(
        :done_subscription::uuid[], :done_subject::uuid[], :done_sequence::smallint[], :done_attempt::smallint[],
        :done_outcome::text[], :done_wait::interval[], :done_at::timestamptz[], :done_latency::real[],
        :done_status::smallint[], :done_error::text[], :done_answer::bytea[]
    ) AS done(subscription, subject, sequence, attempt, outcome, wait, at, latency, status, error, answer)
),
delivered AS (
    DELETE FROM pending_deliveries USING done
    WHERE pending_deliveries.subject = done.subject
        AND pending_deliveries.sequence = done.sequence
        AND pending_deliveries.subscription = done.subscription
        AND least(pending_deliveries.attempt, 32766) = done.attempt - 1
        AND done.outcome = 'delivered'
),
postponed AS (
    UPDATE pending_deliveries
    SET attempt = done.attempt,
        due_at = CASE WHEN done.outcome = 'exhausted' THEN 'infinity'::timestamptz ELSE now() + done.wait END
    FROM done
    WHERE pending_deliveries.subject = done.subject
        AND pending_deliveries.sequence = done.sequence
        AND pending_deliveries.subscription = done.subscription
        AND least(pending_deliveries.attempt, 32766) = done.attempt - 1
        AND done.outcome <> 'delivered'
)
INSERT INTO attempts (subscription, subject, sequence, attempt, outcome, at, latency, status, error, answer)
SELECT subscription, subject, sequence, attempt, outcome, at, latency, status, error, answer FROM done
ON CONFLICT (subscription, subject, sequence, attempt) DO UPDATE
SET outcome = excluded.outcome, at = excluded.at, latency = excluded.latency, status = excluded.status,
    error = excluded.error, answer = excluded.answer
WHERE attempts.attempt = 32767;
