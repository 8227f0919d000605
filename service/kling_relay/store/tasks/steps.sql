-- name: read_tasks
-- The tasks of these ids. A join, because PostgreSQL finds a partition for each id of a join, but not of an array.
SELECT
    tasks.id, tasks.client, tasks.kind, tasks.external_task_id, tasks.created_at,
    CASE WHEN tasks.result_missing THEN 'result_missing' ELSE tasks.status END AS status,
    tasks.sequence, tasks.updated_at,
    tasks.quote::text AS quote, -- the driver reads text in a third of the time of a numeric
    tasks.currency, tasks.trace
FROM unnest(:task_id::uuid[]) AS task(id)
JOIN tasks ON tasks.id = task.id AND tasks.id >= :first::uuid;

-- name: write_steps
-- Move the tasks that still have the sequence they were read with, and write all that goes with a step.
WITH moved AS (
    UPDATE tasks
    SET status = CASE move.status WHEN 'result_missing' THEN 'succeed' ELSE move.status END,
        result_missing = move.status = 'result_missing',
        sequence = move.expected + 1, updated_at = move.at
    FROM unnest(
        :move_id::uuid[], :move_expected::smallint[], :move_status::text[], :move_at::timestamptz[],
        :move_type::text[], :move_body::bytea[], :move_final::boolean[],
        :move_entry::text[], :move_reserved::text[], :move_charged::text[], :move_note::text[]
    ) AS move(id, expected, status, at, type, body, final, entry, reserved, charged, note)
    WHERE tasks.id = move.id AND tasks.sequence = move.expected AND tasks.id >= :first::uuid
    RETURNING
        tasks.id, tasks.client, tasks.key, tasks.sequence, tasks.hook, tasks.currency, tasks.trace,
        move.at, move.type, move.body, move.final, move.entry, move.reserved, move.charged, move.note
),
event AS NOT MATERIALIZED (
    SELECT id AS subject, sequence, client, at, type, body, trace FROM moved
),
recipient AS NOT MATERIALIZED (
    {recipients}
    UNION ALL
    SELECT moved.id, moved.sequence, moved.hook
    FROM moved
    JOIN subscriptions ON subscriptions.id = moved.hook AND subscriptions.deleted_at IS NULL
),
{fan_out},
entry AS (
    INSERT INTO ledger (task, entry, client, key, at, reserved, charged, currency, note)
    SELECT id, entry, client, key, at, reserved::numeric, charged::numeric, currency, note
    FROM moved WHERE entry IS NOT NULL
),
finished AS (
    DELETE FROM submissions USING moved WHERE submissions.task = moved.id AND moved.final
),
accepted AS (
    UPDATE submissions
    SET state = 'accepted', payload = NULL, reason = NULL, attempt = 0, due_at = now() + :ask_in::interval,
        provider_task_id = CASE
            WHEN acceptance.is_own_id THEN acceptance.provider_task_id
            ELSE coalesce(submissions.provider_task_id, acceptance.provider_task_id)
        END
    FROM unnest(:acceptance_task::uuid[], :acceptance_provider_task_id::text[], :acceptance_is_own_id::boolean[])
        AS acceptance(task, provider_task_id, is_own_id)
    WHERE submissions.task = acceptance.task AND (
        submissions.state <> 'accepted'
        OR acceptance.is_own_id AND submissions.provider_task_id IS DISTINCT FROM acceptance.provider_task_id
    )
),
raw AS (
    INSERT INTO callbacks (task, received_at, source, outcome, body)
    SELECT task, received_at, source, outcome, body
    FROM unnest(
        :callback_task::uuid[], :callback_received_at::timestamptz[], :callback_source::text[],
        :callback_outcome::text[], :callback_body::bytea[]
    ) AS callback(task, received_at, source, outcome, body)
)
SELECT id FROM moved;
