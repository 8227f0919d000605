-- name: claim_for_sending
-- Marks recorded submissions as being sent.
UPDATE submissions SET state = 'sending', claim_id = :claim_id::uuid, due_at = now() + :due_in::interval
WHERE task = ANY(:ids::uuid[]) AND state = 'recorded'
RETURNING task, attempt;

-- name: release_claim
-- Undoes a claim of which nothing was sent.
UPDATE submissions SET state = 'recorded', claim_id = NULL, due_at = now()
WHERE state = 'sending' AND claim_id = :claim_id::uuid;

-- name: set_unknown
-- Nobody knows whether the provider has it.
UPDATE submissions
SET state = 'unknown', reason = :reason::text, attempt = 0, due_at = now() + :due_in::interval, payload = NULL
WHERE task = :task::uuid AND state = 'sending' AND claim_id = :claim_id::uuid;

-- name: set_abandoned
-- Its sender has not said in time what became of it. The payload stays, for a sender that comes back.
UPDATE submissions SET state = 'unknown', reason = :reason::text, attempt = 0, due_at = now()
WHERE task = :task::uuid AND state = 'sending' AND claim_id = :claim_id::uuid;

-- name: set_waiting
-- The provider surely did not take it: to be sent again.
UPDATE submissions
SET state = 'recorded', claim_id = NULL, reason = :reason::text, attempt = :attempt::smallint,
    due_at = now() + :due_in::interval
WHERE task = :task::uuid AND state IN ('sending', 'unknown') AND claim_id = :claim_id::uuid AND payload IS NOT NULL;

-- name: find
-- A task's submission.
SELECT state, attempt, due_at, provider_task_id, reason FROM submissions WHERE task = :task::uuid;
