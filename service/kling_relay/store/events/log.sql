-- name: get_event
-- One event of a client.
SELECT {event} FROM events
WHERE subject = :subject::uuid AND sequence = :sequence::smallint AND client = :client::uuid;

-- name: list_after
-- A client's events after a cursor.
SELECT {event} FROM events
WHERE {after_cursor}
ORDER BY tx, subject, sequence
LIMIT :limit::bigint;

-- name: list_after_of_task
-- One task's events after a cursor, of some types or of all.
SELECT {event} FROM events
WHERE {after_cursor}
    AND subject = :task::uuid AND (:types::text[] IS NULL OR type = ANY(:types::text[]))
ORDER BY tx, subject, sequence
LIMIT :limit::bigint;

-- name: list_after_of_types
-- The events of some types in a window of a client's events, then the window's last event if the window was full.
-- It is one statement, because an end that is found a moment later could lie behind events that nobody looked at.
WITH near AS (
    SELECT tx, subject, sequence, type FROM events
    WHERE {after_cursor}
    ORDER BY tx, subject, sequence
    LIMIT :window::bigint
),
chosen AS (
    SELECT *
    FROM (
        SELECT *, false AS is_end FROM near
        WHERE type = ANY(:types::text[])
        ORDER BY tx, subject, sequence
        LIMIT :limit::bigint
    ) AS hits
    UNION ALL
    SELECT *
    FROM (
        SELECT *, true AS is_end FROM near
        ORDER BY tx, subject, sequence
        OFFSET :window::bigint - 1
        LIMIT 1
    ) AS last
)
SELECT chosen.*, event.client, event.at, event.body
FROM chosen
JOIN LATERAL (
    SELECT client, at, body FROM events WHERE subject = chosen.subject AND sequence = chosen.sequence
) AS event ON true
ORDER BY chosen.is_end, chosen.tx, chosen.subject, chosen.sequence;

-- name: list_after_many
-- Several clients' events, each after its cursor.
SELECT newer.*
FROM unnest(:cursor_client::uuid[], :cursor_tx::bigint[], :cursor_subject::uuid[], :cursor_sequence::smallint[])
    AS cursor(client, tx, subject, sequence)
JOIN LATERAL (
    SELECT {event} FROM events
    WHERE client = cursor.client AND (cursor.tx, cursor.subject, cursor.sequence) < (tx, subject, sequence)
        AND tx < {horizon}
    ORDER BY tx, subject, sequence
    LIMIT :limit::bigint
) AS newer ON true;

-- name: read_horizon
-- The number below which every transaction has ended.
SELECT {horizon};
