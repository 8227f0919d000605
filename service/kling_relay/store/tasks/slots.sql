-- name: lock
-- Lock the count of slots until the transaction ends.
SELECT pg_advisory_xact_lock(7307498);

-- name: count_used
-- The slots that are held now.
SELECT coalesce(sum(units), 0) FROM submissions WHERE state IN ('sending', 'accepted', 'unknown');

-- name: list_next
-- The orders whose turn it is: of the client with the fewest tasks in flight and in line before it.
SELECT line.task, line.units, line.client, line.payload_bytes
FROM (
    SELECT task, client, units, coalesce(octet_length(payload), 0) AS payload_bytes,
        row_number() OVER (PARTITION BY client ORDER BY task) AS place
    FROM submissions
    WHERE state = 'recorded' AND due_at <= now()
) AS line
LEFT JOIN (
    SELECT client, count(*) AS tasks FROM submissions WHERE state <> 'recorded' GROUP BY client
) AS in_flight ON in_flight.client = line.client
LEFT JOIN clients ON clients.id = line.client
ORDER BY line.place + coalesce(in_flight.tasks, 0), clients.served_at ASC NULLS FIRST, line.task
LIMIT :limit::integer;

-- name: claim
-- Mark recorded submissions as being sent; return the payloads of small ones.
UPDATE submissions SET state = 'sending', claim_id = :claim_id::uuid, due_at = now() + :due_in::interval
WHERE task = ANY(:ids::uuid[]) AND state = 'recorded'
RETURNING task, kind, attempt, CASE WHEN octet_length(payload) <= :small::integer THEN payload END AS payload,
    (SELECT trace FROM tasks WHERE tasks.id = submissions.task) AS trace;

-- name: note_served
-- Note that these clients have just had their turn.
UPDATE clients SET served_at = clock_timestamp() WHERE id = ANY(:clients::uuid[]);
