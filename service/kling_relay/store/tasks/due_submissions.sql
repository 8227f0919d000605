-- name: find_due
-- Those of these states that have due submissions, or an unsent order from before the bound.
SELECT state
FROM unnest(:states::text[]) AS known(state)
WHERE EXISTS (SELECT FROM submissions WHERE submissions.state = known.state AND due_at <= now())
    OR known.state = 'recorded'
        AND EXISTS (SELECT FROM submissions WHERE submissions.state = 'recorded' AND task < :bound::uuid);

-- name: claim
-- Claim due submissions of one state for a while; nobody else claims them meanwhile. Large payloads are not returned.
WITH picked AS MATERIALIZED (
    SELECT task FROM submissions
    WHERE state = :state::text AND due_at <= now()
    ORDER BY due_at
    LIMIT :limit::smallint
    FOR UPDATE SKIP LOCKED
),
claimed AS (
    UPDATE submissions SET due_at = now() + :due_in::interval
    FROM picked
    WHERE submissions.task = picked.task AND submissions.state = :state::text
    RETURNING submissions.task, submissions.client, submissions.state, submissions.claim_id, submissions.kind,
        submissions.attempt, submissions.incomplete, submissions.provider_task_id,
        octet_length(submissions.payload) AS payload_bytes,
        CASE WHEN octet_length(submissions.payload) <= :small::integer THEN submissions.payload END AS payload
)
SELECT claimed.*, tasks.status, tasks.created_at, tasks.updated_at, tasks.trace
FROM claimed
JOIN tasks ON tasks.id = claimed.task;

-- name: claim_overdue
-- Claim submissions of old tasks that were never sent, so that nobody sends them.
WITH overdue AS MATERIALIZED (
    SELECT task FROM submissions
    WHERE state = 'recorded' AND task < :bound::uuid
    ORDER BY task
    LIMIT :limit::smallint
    FOR UPDATE SKIP LOCKED
)
UPDATE submissions SET state = 'sending', claim_id = :claim_id::uuid, due_at = now() + :due_in::interval
FROM overdue
WHERE submissions.task = overdue.task AND submissions.state = 'recorded'
RETURNING submissions.task;

-- name: postpone
-- Set when the provider is next asked about these tasks.
UPDATE submissions SET due_at = now() + later.due_in, attempt = later.attempt
FROM unnest(:later_task::uuid[], :later_due_in::interval[], :later_attempt::smallint[]) AS later(task, due_in, attempt)
WHERE submissions.task = later.task AND submissions.state IN ('accepted', 'unknown');

-- name: poll_now
-- Make a task due for the next poll, if the provider may have it.
UPDATE submissions SET due_at = now(), attempt = greatest(attempt, 1)
WHERE task = :task::uuid AND state IN ('accepted', 'unknown');

-- name: note_incomplete
-- Make a task that succeeded without a file due for the next poll. A repeated callback changes nothing.
UPDATE submissions
SET due_at = now(), attempt = greatest(attempt, 1), incomplete = 1, reason = :reason::text
WHERE task = :task::uuid AND state IN ('accepted', 'unknown') AND incomplete = 0;

-- name: ask_for_result
-- Set when the provider is next asked for the result of a task that succeeded without a file.
UPDATE submissions
SET due_at = now() + :due_in::interval, attempt = attempt + 1, incomplete = :incomplete::smallint,
    reason = :reason::text
WHERE task = :task::uuid AND state IN ('accepted', 'unknown');
