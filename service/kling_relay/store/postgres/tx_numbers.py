"""Transaction numbers in SQL, as `bigint`: event log and ledger are ordered and summed up by them.

These are the cluster's own numbers. The event log adds `database_info.tx_offset`, so that its numbers keep rising
after a restore into another cluster.
"""

THIS_TX = "pg_current_xact_id()::text::bigint"
"""The number of the transaction that runs the statement."""
OLDEST_TX = "pg_snapshot_xmin(pg_current_snapshot())::text::bigint"
"""The oldest transaction that still runs: below it nothing can be written any more."""
NEXT_TX = "pg_snapshot_xmax(pg_current_snapshot())::text::bigint"
"""The number that the next transaction will get."""
