-- name: get_task
-- A client's task with its last event, which is joined by the given id so that one partition is opened.
SELECT {lean}, events.body
FROM tasks
LEFT JOIN events ON events.subject = :id::uuid AND events.sequence = tasks.sequence
WHERE tasks.id = :id::uuid AND tasks.client = :client::uuid;

-- name: get_tasks
-- Several clients' tasks with their last events, each with its place in the batch.
SELECT {lean}, task.place, events.body
FROM unnest(:task_place::smallint[], :task_id::uuid[], :task_client::uuid[]) AS task(place, id, client)
JOIN tasks ON tasks.id = task.id AND tasks.client = task.client AND tasks.id >= :first::uuid
LEFT JOIN events ON events.subject = task.id AND events.sequence = tasks.sequence AND events.subject >= :first::uuid;

-- name: get_task_by_external_id
-- A client's task by its external id. The subquery runs before a partition is opened; a join would open them all.
SELECT {lean}, events.body
FROM tasks
LEFT JOIN events
    ON events.subject = (SELECT task FROM idempotency_keys WHERE client = :client::uuid AND key = :key::text)
    AND events.sequence = tasks.sequence
WHERE tasks.id = (SELECT task FROM idempotency_keys WHERE client = :client::uuid AND key = :key::text)
    AND tasks.client = :client::uuid;

-- name: get_task_details
-- A client's task with all that is known about it.
SELECT
    {lean}, tasks.key, tasks.model, tasks.mode, tasks.duration, tasks.units, tasks.quote, tasks.currency, tasks.prices,
    tasks.trace, tasks.fields,
    (SELECT coalesce(sum(charged), 0) FROM ledger WHERE task = :id::uuid) AS charged,
    (SELECT max(note) FROM ledger WHERE task = :id::uuid) AS note,
    submissions.state, submissions.reason, submissions.provider_task_id, submissions.due_at,
    events.body
FROM tasks
LEFT JOIN submissions ON submissions.task = :id::uuid
LEFT JOIN events ON events.subject = :id::uuid AND events.sequence = tasks.sequence
WHERE tasks.id = :id::uuid AND tasks.client = :client::uuid;
