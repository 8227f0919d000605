-- name: register
-- Note that this worker is alive.
INSERT INTO workers (id, seen_at) VALUES (:worker::uuid, now()) ON CONFLICT (id) DO UPDATE SET seen_at = now();

-- name: forget_dead
-- Delete the workers that were not seen for a whole lease.
DELETE FROM workers WHERE seen_at < now() - :lease::interval;

-- name: count_workers
-- How many workers share the shards.
SELECT count(*) FROM workers;

-- name: renew
-- Renew this worker's leases.
UPDATE shards SET leased_until = now() + :lease::interval WHERE owner = :worker::uuid RETURNING shard;

-- name: take_free
-- Take shards without an owner, or whose lease has run out.
UPDATE shards SET owner = :worker::uuid, leased_until = now() + :lease::interval
WHERE shard IN (
    SELECT shard FROM shards
    WHERE owner IS NULL OR leased_until < now()
    ORDER BY shard
    LIMIT :limit::integer
    FOR UPDATE SKIP LOCKED
)
RETURNING shard;

-- name: release
-- Let other workers take these shards.
UPDATE shards SET owner = NULL, leased_until = NULL WHERE owner = :worker::uuid AND shard = ANY(:shards::smallint[]);

-- name: release_all
-- Let other workers take all of this worker's shards.
UPDATE shards SET owner = NULL, leased_until = NULL WHERE owner = :worker::uuid;

-- name: unregister
-- Delete this worker, which has stopped.
DELETE FROM workers WHERE id = :worker::uuid;
