-- name: claim_for_sending
-- Mark recorded submissions as being sent.
UPDATE submissions SET state = 'sending', claim_id = :claim_id::uuid, due_at = now() + :due_in::interval
WHERE task = ANY(:ids::uuid[]) AND state = 'recorded'
RETURNING task, attempt;

-- name: release_claims
-- Undo claims of which nothing was sent, also those that the sweep took for abandoned.
UPDATE submissions
SET state = 'recorded', claim_id = NULL, due_at = now(),
    attempt = CASE WHEN state = 'unknown' THEN 0 ELSE attempt END,
    reason = CASE WHEN state = 'unknown' THEN NULL ELSE reason END
WHERE claim_id = ANY(:claim_ids::uuid[]) AND state IN ('sending', 'unknown') AND payload IS NOT NULL;

-- name: set_unknown
-- Note that nobody knows whether the provider has it.
UPDATE submissions
SET state = 'unknown', reason = :reason::text, attempt = 0, due_at = now() + :due_in::interval, payload = NULL
WHERE task = :task::uuid AND state = 'sending' AND claim_id = :claim_id::uuid;

-- name: set_abandoned
-- Note that its sender did not report in time. The payload stays, in case the sender still does.
UPDATE submissions SET state = 'unknown', reason = :reason::text, attempt = 0, due_at = now()
WHERE task = :task::uuid AND state = 'sending' AND claim_id = :claim_id::uuid;

-- name: close_unknown
-- Let nobody send it any more, unless it is no longer unknown under this claim.
UPDATE submissions SET payload = NULL
WHERE task = :task::uuid AND state = 'unknown' AND claim_id IS NOT DISTINCT FROM :claim_id::uuid;

-- name: set_waiting
-- Put back what the provider certainly did not accept, to be sent again.
UPDATE submissions
SET state = 'recorded', claim_id = NULL, reason = :reason::text, attempt = :attempt::smallint,
    due_at = now() + :due_in::interval
WHERE task = :task::uuid AND state IN ('sending', 'unknown') AND claim_id = :claim_id::uuid AND payload IS NOT NULL;

-- name: find
-- A task's submission.
SELECT state, attempt, due_at, provider_task_id, reason FROM submissions WHERE task = :task::uuid;

-- name: read_payload
-- What is to be sent to the provider.
SELECT payload FROM submissions WHERE task = :task::uuid;
