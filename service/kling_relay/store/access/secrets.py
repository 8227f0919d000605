"""What the secrets that we keep are sealed for: each for its own row, so that none can be moved to another.

A subscription's secrets are one JSON list, newest first.
"""

import json
from collections.abc import Sequence
from uuid import UUID

from kling_relay.store.access.encryption import Sealer


def seal_key(sealer: Sealer, key: UUID, text: str) -> bytes:
    """Return a client key's text sealed for the key of this id."""
    return sealer.seal(text.encode(), context("keys.secret", key))


def open_key(sealer: Sealer, key: UUID, sealed: bytes) -> str:
    """Return the text of a client key; raises SealError."""
    return sealer.open(sealed, context("keys.secret", key)).decode()


def seal_hook_secret(sealer: Sealer, client: UUID, secret: str) -> bytes:
    """Return the secret of a client's hooks sealed."""
    return sealer.seal(secret.encode(), context("clients.hook_secret", client))


def open_hook_secret(sealer: Sealer, client: UUID, sealed: bytes) -> str:
    """Return the secret of a client's hooks; raises SealError."""
    return sealer.open(sealed, context("clients.hook_secret", client)).decode()


def seal_list(sealer: Sealer, subscription: UUID, secrets: Sequence[str]) -> bytes:
    """Return a subscription's secrets, newest first, sealed."""
    return sealer.seal(json.dumps(list(secrets)).encode(), context("subscriptions.secrets", subscription))


def open_list(sealer: Sealer, subscription: UUID, sealed: bytes) -> list[str]:
    """Return a subscription's secrets, newest first; raises SealError."""
    secrets: list[str] = json.loads(sealer.open(sealed, context("subscriptions.secrets", subscription)))
    return secrets


def context(column: str, row: UUID) -> bytes:
    """Return what a secret in `column` (with its table) of `row` is sealed for."""
    return column.encode() + b"\x00" + row.bytes
