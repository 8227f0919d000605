"""The composition root: the one place that knows every other, and the only one that reads settings, clock and dice."""

from kling_relay.app.commands import keys_create, keys_list, keys_reencrypt, keys_revoke, migrate, run

__all__ = ["keys_create", "keys_list", "keys_reencrypt", "keys_revoke", "migrate", "run"]
