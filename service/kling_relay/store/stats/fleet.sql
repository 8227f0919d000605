-- name: submission_counts
-- Tasks that are not final by the state of their submission, with the slots they hold, up to a limit.
SELECT
    counted.state,
    count(*) AS tasks,
    sum(counted.units)::integer AS units,
    count(*) FILTER (WHERE counted.attempt >= :silent_after::smallint) AS silent,
    min(counted.task::text COLLATE "C") AS oldest
FROM (
    SELECT submissions.task, submissions.state, submissions.units, submissions.attempt
    FROM submissions
    LIMIT :limit::integer
) AS counted
GROUP BY counted.state;

-- name: oldest_snapshot
-- Age of the oldest transaction that holds something back, and the number of transactions since the oldest one.
SELECT
    greatest(
        (
            -- a reader holds back the vacuum of its own database, a writer the event log of every database; a vacuum
            -- holds back neither
            SELECT coalesce(extract(epoch FROM now() - min(xact_start)), 0)
            FROM pg_stat_activity
            WHERE ((backend_xmin IS NOT NULL AND datname = current_database()) OR backend_xid IS NOT NULL)
              AND backend_type <> 'autovacuum worker'
        ),
        (SELECT coalesce(extract(epoch FROM now() - min(prepared)), 0) FROM pg_prepared_xacts),
        0
    )::float AS age,
    {next_tx} - {oldest_tx} AS span;

-- name: row_estimates
-- Live and dead rows of the tables whose rows come and go.
SELECT relname, n_live_tup, n_dead_tup
FROM pg_stat_user_tables
WHERE relid IN (to_regclass('pending_deliveries'), to_regclass('submissions'));
