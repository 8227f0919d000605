-- name: task_accounts
-- A page of tasks recorded in [lowest, below) after `after`, each with the sum of its ledger entries.
SELECT
    tasks.id, clients.name, tasks.kind,
    CASE WHEN tasks.result_missing THEN 'result_missing' ELSE tasks.status END AS status,
    tasks.quote,
    booked.reserved, booked.charged, booked.entries,
    submissions.state, submissions.provider_task_id
FROM tasks
CROSS JOIN LATERAL (
    SELECT
        coalesce(sum(ledger.reserved), 0) AS reserved,
        coalesce(sum(ledger.charged), 0) AS charged,
        coalesce(array_agg(ledger.entry), '{}'::text[]) AS entries
    FROM ledger
    WHERE ledger.task = tasks.id
) AS booked
LEFT JOIN clients ON clients.id = tasks.client
LEFT JOIN submissions ON submissions.task = tasks.id
WHERE tasks.id >= :lowest::uuid AND tasks.id < :below::uuid AND tasks.id > :after::uuid
ORDER BY tasks.id
LIMIT :limit::integer;

-- name: accepted_callbacks
-- The newest callbacks of these tasks that could be believed, oldest first.
SELECT newest.task, newest.body
FROM unnest(:tasks::uuid[]) AS wanted (task)
CROSS JOIN LATERAL (
    SELECT callbacks.task, callbacks.body, callbacks.received_at
    FROM callbacks
    WHERE callbacks.task = wanted.task AND callbacks.outcome IN ('moved', 'stale', 'incomplete')
    ORDER BY callbacks.received_at DESC
    LIMIT :limit::integer
) AS newest
ORDER BY newest.received_at;

-- name: total_spent
-- What all clients have charged and reserved together, ever.
SELECT coalesce(sum(reserved + charged), 0)
FROM ledger
WHERE currency = :currency::text;
