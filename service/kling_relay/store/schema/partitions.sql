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

-- name: has_open_work
-- Whether a task below this id is not final, or a delivery of its events still to be made.
SELECT EXISTS (SELECT FROM submissions WHERE task < :below::uuid)
    OR EXISTS (SELECT FROM pending_deliveries WHERE subject < :below::uuid AND due_at < 'infinity');

-- name: delete_idempotency_keys
-- Delete the idempotency keys of tasks below this id.
DELETE FROM idempotency_keys WHERE task < :below::uuid;

-- name: delete_exhausted
-- Delete the exhausted deliveries of tasks below this id.
DELETE FROM pending_deliveries WHERE subject < :below::uuid;
