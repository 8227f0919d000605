-- name: list_tasks
-- A client's newest tasks before an id, with their last events.
SELECT hits.*, last.body
FROM (
    SELECT {lean} FROM tasks
    WHERE client = :client::uuid AND id >= :since::uuid AND id < :before::uuid
    ORDER BY id DESC
    LIMIT :limit::bigint
) AS hits
LEFT JOIN LATERAL (
    SELECT body FROM events WHERE subject = hits.id AND sequence = hits.sequence
) AS last ON true
ORDER BY hits.id DESC;

-- name: list_matching_tasks
-- A client's newest tasks that match a filter, looked for in a window.
SELECT hits.*, last.body
FROM (
    SELECT {near} FROM (
        SELECT {lean}, tasks.model, tasks.fields FROM tasks
        WHERE client = :client::uuid AND id >= :since::uuid AND id < :before::uuid
        ORDER BY id DESC
        LIMIT :window::bigint
    ) AS near
    WHERE (:statuses::text[] IS NULL OR status = ANY(:statuses::text[]))
        AND (:kinds::text[] IS NULL OR kind = ANY(:kinds::text[]))
        AND (
            :text::text IS NULL
            OR fields ILIKE concat('%', :text::text, '%')
            OR external_task_id ILIKE concat('%', :text::text, '%')
            OR model ILIKE concat('%', :text::text, '%')
            OR id::text ILIKE concat('%', :text::text, '%')
        )
    ORDER BY id DESC
    LIMIT :limit::bigint
) AS hits
LEFT JOIN LATERAL (
    SELECT body FROM events WHERE subject = hits.id AND sequence = hits.sequence
) AS last ON true
ORDER BY hits.id DESC;

-- name: list_numbered_page
-- A page of a client's tasks of some kinds, by offset.
SELECT hits.*, last.body
FROM (
    SELECT {lean} FROM tasks
    WHERE client = :client::uuid AND kind = ANY(:kinds::text[])
    ORDER BY id DESC
    OFFSET :offset::bigint
    LIMIT :limit::bigint
) AS hits
LEFT JOIN LATERAL (
    SELECT body FROM events WHERE subject = hits.id AND sequence = hits.sequence
) AS last ON true
ORDER BY hits.id DESC;

-- name: find_window_end
-- The oldest task of a full window.
SELECT id FROM tasks
WHERE client = :client::uuid AND id >= :since::uuid AND id < :before::uuid
ORDER BY id DESC
OFFSET :window::bigint - 1
LIMIT 1;
