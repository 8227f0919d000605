-- name: task_stats
-- Counts and durations of a client's tasks: in all (level 3), by bin (1), by bin of order and of end (0).
SELECT
    grouping(sampled.began, sampled.ended) AS level,
    sampled.began,
    sampled.ended,
    count(*) AS total,
    count(*) FILTER (WHERE sampled.succeeded) AS succeeded,
    count(*) FILTER (WHERE sampled.failed) AS failed,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY sampled.seconds) FILTER (WHERE sampled.succeeded) AS p50,
    percentile_cont(0.95) WITHIN GROUP (ORDER BY sampled.seconds) FILTER (WHERE sampled.succeeded) AS p95,
    max(sampled.created_at) AS last_at
FROM (
    SELECT
        bin.number AS began,
        CASE
            WHEN task.status IN ('succeed', 'failed', 'expired') THEN floor(
                (extract(epoch FROM task.updated_at) - extract(epoch FROM :since::timestamptz))::float / :width::float
            )::integer
            ELSE :not_ended::integer
        END AS ended,
        task.status = 'succeed' AS succeeded,
        task.status IN ('failed', 'expired') AS failed,
        extract(epoch FROM task.updated_at - task.created_at)::float AS seconds,
        task.created_at
    FROM unnest(:bin_number::integer[], :bin_low::uuid[], :bin_high::uuid[]) AS bin (number, low, high)
    CROSS JOIN LATERAL (
        SELECT tasks.status, tasks.created_at, tasks.updated_at
        FROM tasks
        WHERE tasks.client = :client::uuid AND tasks.id >= bin.low AND tasks.id < bin.high
        ORDER BY tasks.id
        LIMIT :limit::bigint
    ) AS task
) AS sampled
GROUP BY GROUPING SETS ((sampled.began), (sampled.began, sampled.ended), ());
