-- name: create
-- Write a subscription unless the client has too many.
INSERT INTO subscriptions (
    id, client, hook, url, events, description, format, ordering, max_in_flight, encrypted_headers, secrets,
    created_at, updated_at
)
SELECT :id::uuid, :client::uuid, :hook::boolean, :url::text, :events::text[], :description::text, :format::text,
    :ordering::text, :max_in_flight::smallint, :encrypted_headers::bytea, :secrets::bytea,
    :created_at::timestamptz, :updated_at::timestamptz
WHERE (
    SELECT count(*) FROM subscriptions WHERE client = :client::uuid AND NOT hook AND deleted_at IS NULL
) < :limit::bigint
RETURNING id;

-- name: get
-- A client's subscription or hook.
SELECT {columns} FROM subscriptions WHERE id = :id::uuid AND client = :client::uuid AND deleted_at IS NULL;

-- name: list
-- A client's subscriptions without hooks, newest first.
SELECT {columns} FROM subscriptions
WHERE client = :client::uuid AND NOT hook AND id < :before::uuid AND deleted_at IS NULL
ORDER BY id DESC
LIMIT :limit::bigint;

-- name: update
-- Change what is not NULL, unless URL or headers were changed since they were read. New headers clear what a release
-- before 0004 stored as plaintext.
UPDATE subscriptions
SET url = coalesce(:url::text, url),
    events = coalesce(:events::text[], events),
    description = coalesce(:description::text, description),
    format = coalesce(:format::text, format),
    ordering = coalesce(:ordering::text, ordering),
    max_in_flight = coalesce(:max_in_flight::smallint, max_in_flight),
    encrypted_headers = coalesce(:headers::bytea, encrypted_headers),
    headers = CASE WHEN :headers::bytea IS NULL THEN headers ELSE '{}' END,
    updated_at = :now::timestamptz
WHERE id = :id::uuid AND client = :client::uuid AND deleted_at IS NULL
    AND url = :old_url::text AND {stored_headers} = :old_headers::bytea
RETURNING {columns};

-- name: set_secrets
-- Replace the secrets, unless they were replaced meanwhile.
UPDATE subscriptions
SET secrets = :new_secrets::bytea, old_secrets_until = :old_secrets_until::timestamptz, updated_at = :now::timestamptz
WHERE id = :id::uuid AND client = :client::uuid AND deleted_at IS NULL AND NOT hook AND secrets = :old_secrets::bytea;

-- name: pause
-- Pause a subscription, so that its deliveries wait.
UPDATE subscriptions SET paused_at = coalesce(paused_at, :now::timestamptz), updated_at = :now::timestamptz
WHERE id = :id::uuid AND client = :client::uuid AND deleted_at IS NULL
RETURNING {columns};

-- name: resume
-- Resume a paused or disabled subscription, with a clean record.
UPDATE subscriptions
SET paused_at = NULL, disabled_at = NULL, disabled_reason = NULL, failing_since = NULL, probe_at = NULL,
    updated_at = :now::timestamptz
WHERE id = :id::uuid AND client = :client::uuid AND deleted_at IS NULL
RETURNING {columns};

-- name: ensure_hook
-- Write a hook, enable it again, or note that it is used. One that is being deleted comes back as a new one would be.
INSERT INTO subscriptions (
    id, client, hook, url, events, format, ordering, max_in_flight, secrets, created_at, updated_at, last_used_at
)
VALUES (
    :id::uuid, :client::uuid, true, :url::text, :events::text[], :format::text, :ordering::text,
    :max_in_flight::smallint, '', :now::timestamptz, :now::timestamptz, :now::timestamptz
)
ON CONFLICT (id) DO UPDATE
SET last_used_at = :now::timestamptz,
    disabled_at = NULL, disabled_reason = NULL, deleted_at = NULL,
    failing_since = CASE WHEN subscriptions.disabled_at IS NULL THEN subscriptions.failing_since END,
    probe_at = CASE WHEN subscriptions.disabled_at IS NULL THEN subscriptions.probe_at END,
    paused_at = CASE WHEN subscriptions.deleted_at IS NULL THEN subscriptions.paused_at END,
    headers = CASE WHEN subscriptions.deleted_at IS NULL THEN subscriptions.headers ELSE '{}' END,
    encrypted_headers = CASE WHEN subscriptions.deleted_at IS NULL THEN subscriptions.encrypted_headers ELSE '' END,
    updated_at = CASE WHEN subscriptions.disabled_at IS NULL THEN subscriptions.updated_at ELSE :now::timestamptz END
WHERE subscriptions.disabled_at IS NOT NULL
    OR coalesce(subscriptions.last_used_at, subscriptions.updated_at) < :now::timestamptz - :used_every::interval;
