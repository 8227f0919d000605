-- name: partitions_of
-- The partitions attached to a table, in order of name.
SELECT pg_class.relname
FROM pg_class
JOIN pg_inherits ON pg_inherits.inhrelid = pg_class.oid
WHERE pg_inherits.inhparent = to_regclass(:parent::text) AND NOT pg_inherits.inhdetachpending
ORDER BY pg_class.relname;

-- name: partition_tables
-- Tables that have the name of a partition, attached or not.
SELECT relname
FROM pg_class
WHERE pg_table_is_visible(oid) AND relname LIKE '%\_p________\_________';

-- name: partition_state
-- Whether a table's detachment is pending; null if it is detached. No row if there is no such table.
SELECT pg_inherits.inhdetachpending AS is_pending
FROM pg_class
LEFT JOIN pg_inherits ON pg_inherits.inhrelid = pg_class.oid
WHERE pg_class.oid = to_regclass(:name::text);

-- name: has_open_task
-- Whether a task of these ids is not final.
SELECT EXISTS (
    SELECT FROM submissions
    JOIN tasks ON tasks.id = submissions.task
    WHERE submissions.task >= :low::uuid AND submissions.task < :below::uuid
);

-- name: has_pending_delivery
-- Whether a delivery of these tasks' events is pending or exhausted.
SELECT EXISTS (SELECT FROM pending_deliveries WHERE subject >= :low::uuid AND subject < :below::uuid);

-- name: delete_idempotency_keys
-- Delete some idempotency keys of these tasks.
DELETE FROM idempotency_keys
WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM idempotency_keys WHERE task >= :low::uuid AND task < :below::uuid LIMIT :limit::bigint
));

-- name: delete_submissions
-- Delete the submissions of these tasks, which are gone.
DELETE FROM submissions WHERE task >= :low::uuid AND task < :below::uuid;
