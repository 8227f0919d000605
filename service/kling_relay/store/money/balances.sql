-- name: sum_of_entries
-- Sums of an account's entries in transactions [since, below), and of those of them that a checkpoint may cover.
SELECT
    coalesce(sum(reserved + charged), 0) AS total,
    coalesce(sum(reserved + charged) FILTER (WHERE task >= :day_from::uuid), 0) AS day,
    coalesce(sum(reserved + charged) FILTER (WHERE task >= :month_from::uuid), 0) AS month,
    coalesce(sum(reserved), 0) AS open,
    coalesce(sum(reserved + charged) FILTER (WHERE tx < {oldest_tx}), 0) AS final_total,
    coalesce(sum(reserved + charged) FILTER (WHERE task >= :day_from::uuid AND tx < {oldest_tx}), 0) AS final_day,
    coalesce(sum(reserved + charged) FILTER (WHERE task >= :month_from::uuid AND tx < {oldest_tx}), 0) AS final_month,
    coalesce(sum(reserved) FILTER (WHERE tx < {oldest_tx}), 0) AS final_open,
    count(*) FILTER (WHERE tx < {oldest_tx}) AS final_count,
    max(tx) FILTER (WHERE tx < {oldest_tx}) AS final_tx
FROM ledger
WHERE client = :client::uuid
  AND (:key::uuid IS NULL OR key = :key::uuid)
  -- both bounds: a generic plan expects few rows of a range, and so uses the index
  AND tx >= :since::bigint
  AND tx < :below::bigint
  AND currency = :currency::text;

-- name: checkpoint
-- The account's checkpoint, if it has one.
SELECT below_tx, at, total, day, month, open
FROM ledger_checkpoints
WHERE account = :account::uuid AND currency = :currency::text;

-- name: nth_entry
-- The transaction of the account's entry number `offset` from `since` on.
SELECT tx
FROM ledger
WHERE client = :client::uuid
  AND (:key::uuid IS NULL OR key = :key::uuid)
  AND tx >= :since::bigint
  AND tx < 9223372036854775807
ORDER BY tx
OFFSET :offset::integer
LIMIT 1;

-- name: save_checkpoint
-- Write the account's checkpoint over the one before.
INSERT INTO ledger_checkpoints (account, currency, below_tx, at, total, day, month, open)
VALUES (
    :account::uuid, :currency::text, :below_tx::bigint, :at::timestamptz,
    :total::numeric, :day::numeric, :month::numeric, :open::numeric
)
ON CONFLICT (account, currency) DO UPDATE
SET below_tx = excluded.below_tx,
    at = excluded.at,
    total = excluded.total,
    day = excluded.day,
    month = excluded.month,
    open = excluded.open;
