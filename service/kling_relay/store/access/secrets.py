"""The secrets that are stored encrypted, each bound to its own row, so that none can be moved to another.

A subscription's secrets are one JSON list, newest first.
"""

import json
from collections.abc import Sequence
from uuid import UUID

from kling_relay.store.access.encryption import Encryptor


def encrypt_key(encryptor: Encryptor, key: UUID, text: str) -> bytes:
    """Return the ciphertext of a client key, for the row of this id."""
    return encryptor.encrypt(text.encode(), associated_data("keys.secret", key))


def decrypt_key(encryptor: Encryptor, key: UUID, ciphertext: bytes) -> str:
    """Return a client key; raises DecryptionError."""
    return encryptor.decrypt(ciphertext, associated_data("keys.secret", key)).decode()


def encrypt_hook_secret(encryptor: Encryptor, client: UUID, secret: str) -> bytes:
    """Return the ciphertext of the secret that signs a client's hooks."""
    return encryptor.encrypt(secret.encode(), associated_data("clients.hook_secret", client))


def decrypt_hook_secret(encryptor: Encryptor, client: UUID, ciphertext: bytes) -> str:
    """Return the secret that signs a client's hooks; raises DecryptionError."""
    return encryptor.decrypt(ciphertext, associated_data("clients.hook_secret", client)).decode()


def encrypt_secrets(encryptor: Encryptor, subscription: UUID, secrets: Sequence[str]) -> bytes:
    """Return the ciphertext of a subscription's secrets, newest first."""
    return encryptor.encrypt(json.dumps(list(secrets)).encode(), associated_data("subscriptions.secrets", subscription))


def decrypt_secrets(encryptor: Encryptor, subscription: UUID, ciphertext: bytes) -> list[str]:
    """Return a subscription's secrets, newest first; raises DecryptionError."""
    secrets: list[str] = json.loads(
        encryptor.decrypt(ciphertext, associated_data("subscriptions.secrets", subscription))
    )
    return secrets


def associated_data(column: str, row: UUID) -> bytes:
    """Return the associated data of a secret: its `table.column` and the id of its row."""
    return column.encode() + b"\x00" + row.bytes
