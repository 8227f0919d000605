-- name: subscriptions_of
-- The client's newest subscriptions, and the hooks of its newest tasks.
SELECT own.id
FROM (
    SELECT subscriptions.id
    FROM subscriptions
    WHERE subscriptions.client = :client::uuid AND NOT subscriptions.hook AND subscriptions.deleted_at IS NULL
    ORDER BY subscriptions.id DESC
    LIMIT :limit::bigint
) AS own
UNION ALL
SELECT hook.hook
FROM (
    SELECT DISTINCT recent.hook
    FROM (
        SELECT tasks.hook
        FROM tasks
        WHERE tasks.client = :client::uuid
        ORDER BY tasks.id DESC
        LIMIT :tasks::bigint
    ) AS recent
    WHERE recent.hook IS NOT NULL
    LIMIT :limit::bigint
) AS hook;

-- name: subscription_of
-- This subscription, if it is the client's.
SELECT id
FROM subscriptions
WHERE id = :subscription::uuid AND client = :client::uuid AND deleted_at IS NULL;

-- name: attempt_stats
-- Counts and latencies of attempts: in all (level 7), by bin (3), by subscription (5), by error code (6).
SELECT
    grouping(sampled.began, sampled.subscription, sampled.code) AS level,
    sampled.began,
    sampled.subscription,
    sampled.code,
    count(*) AS total,
    count(*) FILTER (WHERE sampled.succeeded) AS succeeded,
    count(*) FILTER (WHERE NOT sampled.succeeded) AS failed,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY sampled.seconds) FILTER (WHERE sampled.succeeded) AS p50,
    percentile_cont(0.95) WITHIN GROUP (ORDER BY sampled.seconds) FILTER (WHERE sampled.succeeded) AS p95
FROM (
    SELECT
        subscription.id AS subscription,
        floor(
            (extract(epoch FROM attempt.at) - extract(epoch FROM :since::timestamptz))::float / :width::float
        )::integer AS began,
        attempt.outcome = 'delivered' AS succeeded,
        CASE
            WHEN attempt.outcome <> 'delivered'
            THEN coalesce(attempt.status::text, split_part(coalesce(attempt.error, '?'), ':', 1))
        END AS code,
        attempt.latency::float AS seconds
    FROM unnest(:subscriptions::uuid[]) AS subscription (id)
    CROSS JOIN LATERAL (
        SELECT attempts.at, attempts.latency, attempts.status, attempts.outcome, attempts.error
        FROM attempts
        WHERE attempts.subscription = subscription.id AND attempts.subject >= :low::uuid
        ORDER BY attempts.subject DESC, attempts.sequence DESC
        LIMIT :limit::bigint
    ) AS attempt
    WHERE attempt.at >= :since::timestamptz
) AS sampled
GROUP BY GROUPING SETS ((sampled.began), (sampled.subscription), (sampled.code), ());

-- name: delivery_spans
-- How many deliveries ended in a later bin than that of their first attempt, by both bins.
SELECT delivery.began, delivery.ended, count(*) AS total
FROM (
    SELECT
        floor(
            (extract(epoch FROM min(attempt.at)) - extract(epoch FROM :since::timestamptz))::float / :width::float
        )::integer AS began,
        coalesce(
            floor(
                (
                    extract(epoch FROM max(attempt.at) FILTER (WHERE attempt.outcome <> 'failed'))
                    - extract(epoch FROM :since::timestamptz)
                )::float / :width::float
            )::integer,
            :not_ended::integer
        ) AS ended
    FROM unnest(:subscriptions::uuid[]) AS subscription (id)
    CROSS JOIN LATERAL (
        SELECT attempts.subject, attempts.sequence, attempts.at, attempts.outcome
        FROM attempts
        WHERE attempts.subscription = subscription.id AND attempts.subject >= :low::uuid
        ORDER BY attempts.subject DESC, attempts.sequence DESC
        LIMIT :limit::bigint
    ) AS attempt
    GROUP BY subscription.id, attempt.subject, attempt.sequence
) AS delivery
WHERE delivery.ended > delivery.began
GROUP BY delivery.began, delivery.ended;
