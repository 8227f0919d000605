-- name: server_facts
-- What the server says about itself, with its settings of these names.
SELECT
    clock_timestamp() AS at,
    pg_backend_pid() AS pid,
    pg_is_in_recovery() AS is_replica,
    has_schema_privilege(current_schema(), 'CREATE') AS can_create,
    (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend')::int AS connections,
    ARRAY(SELECT name FROM pg_settings WHERE name = ANY(:names::text[])) AS names,
    ARRAY(SELECT setting FROM pg_settings WHERE name = ANY(:names::text[])) AS settings;
