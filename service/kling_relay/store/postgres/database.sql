-- name: tx_offset
-- What is added to a transaction's number to get the number of its events.
SELECT tx_offset
FROM database_info;

-- name: current_time
-- The database's clock.
SELECT clock_timestamp();

-- name: deployment
-- What tells this database from every other one: the cluster's own number, and the database in it.
SELECT system_identifier::text || '/' || oid::text
FROM pg_control_system(), pg_database
WHERE datname = current_database();
