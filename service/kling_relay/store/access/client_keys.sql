-- name: insert_client
-- Add a client, or return the id of the client with this name.
INSERT INTO clients (id, name, hook_secret, created_at)
VALUES (:id::uuid, :name::text, :hook_secret::bytea, :created_at::timestamptz)
-- the update changes nothing; it makes RETURNING give the id of an existing row
ON CONFLICT (name) DO UPDATE SET name = excluded.name
RETURNING id;

-- name: insert_key
-- Add a key.
INSERT INTO keys (id, client, name, digest, secret, scopes, created_at, expires_at)
VALUES (
    :id::uuid, :client::uuid, :name::text, :digest::bytea, :secret::bytea, :scopes::text[],
    :created_at::timestamptz, :expires_at::timestamptz
)
-- only the bootstrap key can exist already; with another text it is the operator's new choice
ON CONFLICT (id) DO UPDATE SET digest = excluded.digest, secret = excluded.secret;

-- name: key_by_digest
-- The key with this digest.
SELECT
    keys.id, keys.client, clients.name AS client_name, keys.name, keys.scopes,
    keys.created_at, keys.expires_at, keys.last_used_at, keys.revoked_at, keys.digest, keys.secret
FROM keys
JOIN clients ON clients.id = keys.client
WHERE keys.digest = :digest::bytea;

-- name: key_by_id
-- The key with this id.
SELECT
    keys.id, keys.client, clients.name AS client_name, keys.name, keys.scopes,
    keys.created_at, keys.expires_at, keys.last_used_at, keys.revoked_at, keys.digest, keys.secret
FROM keys
JOIN clients ON clients.id = keys.client
WHERE keys.id = :id::uuid;

-- name: list_keys
-- Every key of every client, oldest first.
SELECT
    keys.id, keys.client, clients.name AS client_name, keys.name, keys.scopes,
    keys.created_at, keys.expires_at, keys.last_used_at, keys.revoked_at, keys.digest, keys.secret
FROM keys
JOIN clients ON clients.id = keys.client
ORDER BY keys.created_at, keys.id;

-- name: revoke
-- Revoke the keys with this id or name that are not revoked yet.
UPDATE keys
SET revoked_at = :at::timestamptz
WHERE (id = :id::uuid OR name = :name::text) AND revoked_at IS NULL
RETURNING id;

-- name: touch
-- Write when these keys were last used, unless that was written recently.
UPDATE keys
SET last_used_at = :at::timestamptz
WHERE id = ANY(:ids::uuid[])
  AND (last_used_at IS NULL OR last_used_at < :at::timestamptz - :every::interval);

-- name: hook_secret
-- The encrypted secret that signs a client's hooks.
SELECT hook_secret
FROM clients
WHERE id = :client::uuid;

-- name: set_hook_secret
-- Replace the encrypted secret that signs a client's hooks.
UPDATE clients
SET hook_secret = :ciphertext::bytea
WHERE id = :client::uuid;
