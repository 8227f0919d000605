-- name: reserve
-- Reserve those of these keys that are free, each for its task.
INSERT INTO idempotency_keys (client, key, task, fingerprint)
SELECT :client::uuid, new.key, new.task, new.fingerprint
FROM unnest(:new_key::text[], :new_task::uuid[], :new_fingerprint::bytea[]) AS new(key, task, fingerprint)
ON CONFLICT DO NOTHING;

-- name: find_used
-- Those of these keys that are reserved.
SELECT key, task, fingerprint FROM idempotency_keys WHERE client = :client::uuid AND key = ANY(:keys::text[]);

-- name: release
-- Delete a task's keys.
DELETE FROM idempotency_keys WHERE client = :client::uuid AND key = ANY(:keys::text[]) AND task = :task::uuid;
