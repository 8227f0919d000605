-- name: is_limited
-- Whether the client or the key has any limit.
SELECT EXISTS (
    SELECT FROM clients
    WHERE id = :client::uuid AND num_nonnulls(limit_total, limit_day, limit_month, limit_open) > 0
) OR EXISTS (
    SELECT FROM keys
    WHERE id = :key::uuid AND num_nonnulls(limit_total, limit_day, limit_month, limit_open) > 0
);

-- name: lock_client
-- Lock the client's row until the transaction ends, if it has a limit; `at` is the time at which it was locked.
WITH locked AS MATERIALIZED (
    SELECT id AS client, NULL::uuid AS key, name, limit_total, limit_day, limit_month, limit_open
    FROM clients
    WHERE id = :client::uuid AND num_nonnulls(limit_total, limit_day, limit_month, limit_open) > 0
    FOR NO KEY UPDATE
)
SELECT locked.*, clock_timestamp() AS at FROM locked;

-- name: lock_keys
-- Lock the rows of those of these keys that have a limit, in order of id; `at` is the time at which they were locked.
WITH locked AS MATERIALIZED (
    SELECT client, id AS key, name, limit_total, limit_day, limit_month, limit_open
    FROM keys
    WHERE id = ANY(:keys::uuid[]) AND num_nonnulls(limit_total, limit_day, limit_month, limit_open) > 0
    ORDER BY id
    FOR NO KEY UPDATE
)
SELECT locked.*, clock_timestamp() AS at FROM locked;

-- name: accounts_of
-- A client and one key, with or without limits.
SELECT id AS client, NULL::uuid AS key, name, limit_total, limit_day, limit_month, limit_open
FROM clients
WHERE id = :client::uuid
UNION ALL
SELECT client, id AS key, name, limit_total, limit_day, limit_month, limit_open
FROM keys
WHERE id = :key::uuid
ORDER BY key NULLS FIRST;

-- name: limited_clients
-- Every client with a limit.
SELECT id AS client, NULL::uuid AS key, name, limit_total, limit_day, limit_month, limit_open
FROM clients
WHERE num_nonnulls(limit_total, limit_day, limit_month, limit_open) > 0
ORDER BY name;

-- name: limited_keys
-- Every key with a limit that was not revoked.
SELECT client, id AS key, name, limit_total, limit_day, limit_month, limit_open
FROM keys
WHERE num_nonnulls(limit_total, limit_day, limit_month, limit_open) > 0 AND revoked_at IS NULL
ORDER BY name;

-- name: set_client_limits
-- Set the limits of the client with this name or id.
UPDATE clients
SET limit_total = :total::numeric, limit_day = :day::numeric, limit_month = :month::numeric, limit_open = :open::numeric
WHERE name = :name::text OR id = :id::uuid;

-- name: set_key_limits
-- Set the limits of the keys with this name or id.
UPDATE keys
SET limit_total = :total::numeric, limit_day = :day::numeric, limit_month = :month::numeric, limit_open = :open::numeric
WHERE name = :name::text OR id = :id::uuid;

-- name: record_alerts
-- Write the alerts that are new, each with its event and the event's deliveries.
WITH alert AS (
    SELECT *
    FROM unnest(
        :alert_account::uuid[], :alert_limit_name::text[], :alert_window_start::timestamptz[],
        :alert_allowed::numeric[], :alert_percent::smallint[],
        :alert_at::timestamptz[], :alert_subject::uuid[], :alert_client::uuid[], :alert_body::bytea[]
    ) AS alert (account, limit_name, window_start, allowed, percent, at, subject, client, body)
), recorded AS (
    INSERT INTO budget_alerts (account, limit_name, window_start, allowed, percent, at)
    SELECT account, limit_name, window_start, allowed, percent, at FROM alert
    ON CONFLICT DO NOTHING
    RETURNING account, limit_name, window_start, allowed, percent
), event AS (
    SELECT alert.subject, 1 AS sequence, alert.client, alert.at, '{event_type}' AS type, alert.body,
        NULL::text AS trace
    FROM recorded JOIN alert USING (account, limit_name, window_start, allowed, percent)
), recipient AS (
    {recipients}
), {fan_out}
SELECT subject FROM event;
