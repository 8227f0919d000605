-- name: create
-- Write a subscription unless the client has too many.
INSERT INTO subscriptions (
    id, client, hook, url, events, description, format, ordering, max_in_flight, encrypted_headers, secrets,
    created_at, updated_at
)
SELECT :id::uuid, :client::uuid, :hook::boolean, :url::text, :events::text[], :description::text, :format::text,
    :ordering::text, :max_in_flight::smallint, :encrypted_headers::bytea, :secrets::bytea,
    :created_at::timestamptz, :updated_at::timestamptz
WHERE (SELECT count(*) FROM subscriptions WHERE client = :client::uuid AND NOT hook) < :limit::bigint
RETURNING id;

-- name: get
-- A client's subscription or hook.
SELECT {columns} FROM subscriptions WHERE id = :id::uuid AND client = :client::uuid;

-- name: list
-- A client's subscriptions without hooks, newest first.
SELECT {columns} FROM subscriptions
WHERE client = :client::uuid AND NOT hook AND id < :before::uuid
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
WHERE id = :id::uuid AND client = :client::uuid
    AND url = :old_url::text AND {stored_headers} = :old_headers::bytea
RETURNING {columns};

-- name: set_secrets
-- Replace the secrets, unless they were replaced meanwhile.
UPDATE subscriptions
SET secrets = :new_secrets::bytea, old_secrets_until = :old_secrets_until::timestamptz, updated_at = :now::timestamptz
WHERE id = :id::uuid AND client = :client::uuid AND NOT hook AND secrets = :old_secrets::bytea;

-- name: pause
-- Pause a subscription, so that its deliveries wait.
UPDATE subscriptions SET paused_at = coalesce(paused_at, :now::timestamptz), updated_at = :now::timestamptz
WHERE id = :id::uuid AND client = :client::uuid
RETURNING {columns};

-- name: resume
-- Resume a paused or disabled subscription, with a clean record.
UPDATE subscriptions
SET paused_at = NULL, disabled_at = NULL, disabled_reason = NULL, failing_since = NULL, probe_at = NULL,
    updated_at = :now::timestamptz
WHERE id = :id::uuid AND client = :client::uuid
RETURNING {columns};

-- name: ensure_hook
-- Write a hook, or enable it again.
INSERT INTO subscriptions (
    id, client, hook, url, events, format, ordering, max_in_flight, secrets, created_at, updated_at
)
VALUES (
    :id::uuid, :client::uuid, true, :url::text, :events::text[], :format::text, :ordering::text,
    :max_in_flight::smallint, '', :now::timestamptz, :now::timestamptz
)
ON CONFLICT (id) DO UPDATE
SET disabled_at = NULL, disabled_reason = NULL, failing_since = NULL, probe_at = NULL, updated_at = :now::timestamptz
WHERE subscriptions.disabled_at IS NOT NULL;
