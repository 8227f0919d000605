-- name: read_recipients
-- Everything that delivering to these subscriptions needs.
SELECT
    subscriptions.id, subscriptions.client, subscriptions.hook, subscriptions.url, {stored_headers} AS headers,
    subscriptions.format, subscriptions.ordering, subscriptions.max_in_flight, subscriptions.secrets,
    clients.hook_secret, subscriptions.old_secrets_until, subscriptions.failing_since, subscriptions.probe_at,
    subscriptions.paused_at, subscriptions.disabled_at
FROM subscriptions
JOIN clients ON clients.id = subscriptions.client
WHERE subscriptions.id = ANY(:ids::uuid[]);

-- name: set_failing
-- Set since when every attempt has failed, and when the next probe is; NULL means healthy, and not broken.
UPDATE subscriptions SET failing_since = :since::timestamptz, probe_at = :probe_at::timestamptz WHERE id = :id::uuid;

-- name: disable
-- Disable a subscription, and send its client's others an event about it.
WITH disabled AS (
    UPDATE subscriptions SET disabled_at = :at::timestamptz, disabled_reason = :reason::text
    WHERE id = :id::uuid AND disabled_at IS NULL
    RETURNING client
),
event AS (
    SELECT :subject::uuid AS subject, 1 AS sequence, client, :at::timestamptz AS at, :type::text AS type,
        :body::bytea AS body, NULL::text AS trace
    FROM disabled
),
recipient AS (
    {recipients} AND subscriptions.id <> :id::uuid
),
{fan_out}
SELECT true FROM disabled;
