-- name: record
-- Write tasks with their submissions and reservations. Amounts come as text: the driver is slow with numerics.
WITH new AS NOT MATERIALIZED (
    SELECT *
    FROM unnest(
        :new_id::uuid[], :new_client::uuid[], :new_key::uuid[], :new_created_at::timestamptz[], :new_kind::text[],
        :new_model::text[], :new_mode::text[], :new_duration::text[], :new_units::smallint[], :new_quote::text[],
        :new_currency::text[], :new_prices::text[], :new_external_task_id::text[], :new_hook::uuid[],
        :new_trace::text[], :new_fields::text[], :new_payload::bytea[],
        :new_entry::text[], :new_reserved::text[], :new_charged::text[]
    ) AS new(
        id, client, key, created_at, kind, model, mode, duration, units, quote, currency, prices, external_task_id,
        hook, trace, fields, payload, entry, reserved, charged
    )
),
task AS (
    INSERT INTO tasks (
        id, client, key, created_at, kind, model, mode, duration, units, quote, currency, prices, external_task_id,
        hook, trace, fields, status, sequence, updated_at
    )
    SELECT id, client, key, created_at, kind, model, mode, duration, units, quote::numeric, currency, prices,
        external_task_id, hook, trace, fields, 'recorded', 0, created_at
    FROM new
),
reservation AS (
    INSERT INTO ledger (task, entry, client, key, at, reserved, charged, currency, kind, model, mode)
    SELECT id, entry, client, key, created_at, reserved::numeric, charged::numeric, currency, kind, model, mode
    FROM new
)
INSERT INTO submissions (task, client, state, units, due_at, kind, payload)
SELECT id, client, 'recorded', units, now() + :due_in::interval, kind, payload
FROM new;

-- name: count_recorded
-- How many of these tasks exist.
SELECT count(*) FROM unnest(:task_id::uuid[]) AS task(id) JOIN tasks ON tasks.id = task.id;
