-- name: reserve
-- Takes those of these keys that are free, each for its task.
INSERT INTO idempotency_keys (client, key, task, fingerprint)
SELECT :client::uuid, taken.key, taken.task, taken.fingerprint
FROM unnest(:taken_key::text[], :taken_task::uuid[], :taken_fingerprint::bytea[]) AS taken(key, task, fingerprint)
ON CONFLICT DO NOTHING;

-- name: find_used
-- Those of these keys that are taken.
SELECT key, task, fingerprint FROM idempotency_keys WHERE client = :client::uuid AND key = ANY(:keys::text[]);

-- name: release
-- Gives a task's keys back.
DELETE FROM idempotency_keys WHERE client = :client::uuid AND key = ANY(:keys::text[]) AND task = :task::uuid;
