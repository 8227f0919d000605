"""The composition root: the only package that knows all others and reads settings, clock and random numbers."""

from kling_relay.app.commands import (
    keys_create,
    keys_list,
    keys_reencrypt,
    keys_revoke,
    migrate,
    run,
    shares_port,
)
from kling_relay.app.ports import with_free_metrics_port

__all__ = [
    "keys_create",
    "keys_list",
    "keys_reencrypt",
    "keys_revoke",
    "migrate",
    "run",
    "shares_port",
    "with_free_metrics_port",
]
