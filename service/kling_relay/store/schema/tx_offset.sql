-- name: tx_numbers
-- The next number of a transaction and of an event, and the highest ones in the event log and in the ledger.
SELECT
    {next_tx} AS next_tx,
    {next_tx} + (SELECT tx_offset FROM database_info) AS next_number,
    -- by client, because log and ledger are indexed by client
    coalesce((
        SELECT max(newest.tx)
        FROM clients
        CROSS JOIN LATERAL (
            SELECT events.tx FROM events WHERE events.client = clients.id ORDER BY events.tx DESC LIMIT 1
        ) AS newest
    ), 0) AS max_event_number,
    coalesce((
        SELECT max(newest.tx)
        FROM clients
        CROSS JOIN LATERAL (
            SELECT ledger.tx FROM ledger WHERE ledger.client = clients.id ORDER BY ledger.tx DESC LIMIT 1
        ) AS newest
    ), 0) AS max_entry_tx;

-- name: service_connections
-- Connections of this service to the database.
SELECT count(*)
FROM pg_stat_activity
WHERE datname = current_database() AND application_name LIKE 'kling-relay %';

-- name: set_tx_offset
-- Let the next event get this number.
UPDATE database_info SET tx_offset = :next_number::bigint - {next_tx};

-- name: mark_entries_final
-- Entries with a number that this cluster has not reached were committed in another one: give them the lowest.
UPDATE ledger SET tx = 0 WHERE tx >= :next_tx::bigint;

-- name: delete_checkpoints
-- Checkpoints end at transaction numbers of the other cluster.
DELETE FROM ledger_checkpoints;
