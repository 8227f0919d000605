-- name: writers
-- The transactions that may write to a table. A statement has this lock before it takes its snapshot.
SELECT virtualtransaction
FROM pg_locks
WHERE relation = to_regclass(:relation::text)
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND mode = 'RowExclusiveLock' AND granted AND pid IS DISTINCT FROM pg_backend_pid();
