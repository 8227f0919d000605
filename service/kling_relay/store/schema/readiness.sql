-- name: readiness
-- Whether the server takes writes, and which of these tables have no partition for a row of this moment.
SELECT
    pg_is_in_recovery() AS is_replica,
    current_setting('transaction_read_only')::boolean AS is_read_only,
    ARRAY(
        SELECT parent
        FROM unnest(:parents::text[]) AS parent
        WHERE NOT EXISTS (
            SELECT
            FROM pg_inherits
            JOIN pg_class ON pg_class.oid = pg_inherits.inhrelid
            CROSS JOIN LATERAL regexp_match(
                pg_get_expr(pg_class.relpartbound, pg_class.oid), $re$FROM \('([^']+)'\) TO \('([^']+)'\)$re$
            ) AS bound
            WHERE pg_inherits.inhparent = to_regclass(parent) AND NOT pg_inherits.inhdetachpending
                AND bound[1]::uuid <= :at::uuid AND :at::uuid < bound[2]::uuid
        )
    ) AS missing;
