"""A subscription's own headers at rest: one encrypted JSON object, since they may authenticate us to the subscriber.

Releases before 0004 stored them as plaintext in the column `headers`. This release still reads that
column, for old rows and old processes, until the headers change or `keys reencrypt` runs. It never writes it.
"""

import json
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Text, case, func, literal_column

from kling_relay.store.access.encryption import Encryptor
from kling_relay.store.access.secrets import associated_data
from kling_relay.store.tables import subscriptions

COLUMN = "subscriptions.headers"
"""The column named in the associated data."""
NO_PLAINTEXT: ColumnElement[str] = literal_column("'{}'", Text)
STORED: ColumnElement[bytes] = case(
    (subscriptions.c.headers != NO_PLAINTEXT, func.convert_to(subscriptions.c.headers, literal_column("'UTF8'"))),
    else_=subscriptions.c.encrypted_headers,
)
"""A row's stored headers: a ciphertext, an older release's plaintext, or empty if the subscription has none."""


def encrypt(encryptor: Encryptor, subscription: UUID, headers: Mapping[str, str]) -> bytes:
    """Return the ciphertext of a subscription's headers, or `b""` for none."""
    return (
        encryptor.encrypt(json.dumps(dict(headers)).encode(), associated_data(COLUMN, subscription)) if headers else b""
    )


def decrypt(encryptor: Encryptor, subscription: UUID, stored_bytes: bytes) -> dict[str, str]:
    """Return a subscription's headers; raises DecryptionError."""
    if not stored_bytes:
        return {}
    plaintext = (
        stored_bytes
        if is_plaintext(stored_bytes)
        else encryptor.decrypt(stored_bytes, associated_data(COLUMN, subscription))
    )
    headers: dict[str, Any] = json.loads(plaintext)
    return headers


def is_plaintext(stored_bytes: bytes) -> bool:
    """Return whether an older release stored this as plaintext; no ciphertext starts like JSON."""
    return stored_bytes.startswith(b"{")
