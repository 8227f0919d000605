-- name: tx_offset
-- What is added to a transaction's number to get the number of its events.
SELECT tx_offset
FROM database_info;
