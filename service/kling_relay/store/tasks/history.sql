-- name: list_events
-- Every event of a client's task, in order.
SELECT {event} FROM events WHERE subject = :task::uuid AND client = :client::uuid ORDER BY sequence;

-- name: list_callbacks
-- What the provider sent about a client's task, oldest first.
SELECT callbacks.received_at, callbacks.source, callbacks.outcome, callbacks.body
FROM tasks
JOIN callbacks ON callbacks.task = :task::uuid
WHERE tasks.id = :task::uuid AND tasks.client = :client::uuid
ORDER BY callbacks.received_at
LIMIT :limit::bigint;
