-- name: list_deliveries
-- The newest deliveries of some subscriptions, pending and delivered, each with its last attempt and its event's type.
-- A broken subscription's are held until its probe, and those of one that is paused or disabled have no next attempt.
WITH pending AS NOT MATERIALIZED (
    SELECT mine.id AS subscription, newest.*
    FROM unnest(:mine_id::uuid[]) AS mine(id)
    JOIN LATERAL (
        SELECT subject, sequence, attempt,
            CASE WHEN due_at = 'infinity'::timestamptz THEN 'exhausted' ELSE 'pending' END AS status,
            CASE WHEN due_at = 'infinity'::timestamptz THEN NULL ELSE due_at END AS due_at
        FROM pending_deliveries
        WHERE shard = get_byte(uuid_send(mine.id), 15) AND subscription = mine.id
            AND (
                :pending::boolean AND due_at <> 'infinity'::timestamptz
                OR :exhausted::boolean AND due_at = 'infinity'::timestamptz
            )
            -- the first two bounds are for the index
            AND subject >= :low::uuid
            AND (subject, sequence) <= (:subject::uuid, :sequence::smallint)
            AND (subject, sequence, mine.id) < (:subject::uuid, :sequence::smallint, :before::uuid)
            AND (:only::smallint IS NULL OR sequence = :only::smallint)
        ORDER BY subject DESC, sequence DESC
        LIMIT :limit::bigint
    ) AS newest ON true
),
delivered AS NOT MATERIALIZED (
    SELECT mine.id AS subscription, newest.*
    FROM unnest(:mine_id::uuid[]) AS mine(id)
    JOIN LATERAL (
        SELECT subject, sequence, attempt, 'delivered' AS status, NULL::timestamptz AS due_at
        FROM attempts
        WHERE :delivered::boolean AND subscription = mine.id AND outcome = 'delivered'
            AND subject >= :low::uuid
            AND (subject, sequence) <= (:subject::uuid, :sequence::smallint)
            AND (subject, sequence, mine.id) < (:subject::uuid, :sequence::smallint, :before::uuid)
            AND (:only::smallint IS NULL OR sequence = :only::smallint)
            AND NOT EXISTS ( -- put back since
                SELECT FROM pending_deliveries AS still
                WHERE still.subscription = attempts.subscription
                    AND still.subject = attempts.subject AND still.sequence = attempts.sequence
            )
            AND NOT EXISTS ( -- delivered again since
                SELECT FROM attempts AS later
                WHERE later.subscription = attempts.subscription
                    AND later.subject = attempts.subject AND later.sequence = attempts.sequence
                    AND later.attempt > attempts.attempt
            )
        ORDER BY subject DESC, sequence DESC
        LIMIT :limit::bigint
    ) AS newest ON true
),
page AS NOT MATERIALIZED (
    SELECT * FROM (SELECT * FROM pending UNION ALL SELECT * FROM delivered) AS delivery
    ORDER BY subject DESC, sequence DESC, subscription DESC
    LIMIT :limit::bigint
)
SELECT page.subscription, page.subject, page.sequence, page.attempt, page.status,
    CASE
        WHEN page.status <> 'pending' THEN NULL
        WHEN subscriptions.disabled_at IS NOT NULL THEN 'disabled'
        WHEN subscriptions.paused_at IS NOT NULL THEN 'paused'
        WHEN page.due_at <= greatest(subscriptions.probe_at, now()) AND subscriptions.probe_at IS NOT NULL THEN 'probe'
    END AS held,
    CASE
        WHEN subscriptions.disabled_at IS NOT NULL OR subscriptions.paused_at IS NOT NULL THEN NULL
        WHEN page.due_at IS NOT NULL THEN greatest(page.due_at, subscriptions.probe_at)
    END AS due_at,
    last.at AS last_at, last.status AS last_status, last.error AS last_error, events.type
FROM page
LEFT JOIN subscriptions ON subscriptions.id = page.subscription
LEFT JOIN LATERAL (
    SELECT at, status, error FROM attempts
    WHERE subscription = page.subscription AND subject = page.subject AND sequence = page.sequence
        AND attempt = page.attempt
) AS last ON true
LEFT JOIN events ON events.subject = page.subject AND events.sequence = page.sequence
ORDER BY page.subject DESC, page.sequence DESC, page.subscription DESC;

-- name: list_attempts
-- The attempts of one delivery, oldest first.
SELECT attempt, at, latency, status, outcome, error, answer
FROM attempts
WHERE subscription = :subscription::uuid AND subject = :subject::uuid AND sequence = :sequence::smallint
ORDER BY attempt;
