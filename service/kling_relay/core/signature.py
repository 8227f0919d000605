"""Standard Webhooks: "{id}.{timestamp}.{body}" is signed by HMAC-SHA256 with every valid secret.

While a secret rotates, both secrets sign and a receiver accepts either. A signature more than five minutes old or
in the future is refused, so that a recorded request cannot be replayed later.
"""

import base64
import binascii
import hmac
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import lru_cache

PREFIX = "whsec_"
TOLERANCE = timedelta(minutes=5)
MIN_RANDOM_BYTES = 24
"""The fewest random bytes in a secret (the specification's lower bound)."""
_MAX_SIGNATURES = 16


def new_secret(random_bytes: bytes) -> str:
    """Return a secret made of 24 to 64 `random_bytes`, as the specification requires."""
    if not MIN_RANDOM_BYTES <= len(random_bytes) <= 64:
        raise ValueError("a secret takes 24 to 64 random bytes")
    return PREFIX + base64.b64encode(random_bytes).decode("ascii")


@lru_cache(maxsize=16384)
def decode(secret: str) -> bytes:
    """Return the key inside `secret`, with or without `whsec_`. Raises ValueError, which never quotes the secret."""
    text = secret.removeprefix(PREFIX).rstrip("=")
    try:
        key = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("a webhook secret must be whsec_ followed by Base64") from None
    if not key:
        raise ValueError("a webhook secret must not be empty")
    return key


def timestamp(at: datetime) -> str:
    """Return the header `webhook-timestamp`: whole seconds since 1970."""
    return str(int(at.timestamp()))


def sign(secrets: Sequence[str], id: str, at: datetime, body: bytes) -> str:  # noqa: A002 - the specification's name
    """Return the header `webhook-signature`: one `v1,<Base64>` per secret, separated by spaces."""
    signed = f"{id}.{int(at.timestamp())}.".encode() + body
    return " ".join([_v1(decode(secret), signed) for secret in secrets])


def verify(
    secrets: Sequence[str],
    id: str,  # noqa: A002 - the specification's name
    timestamp: str,
    signature: str,
    body: bytes,
    *,
    now: datetime,
    tolerance: timedelta = TOLERANCE,
) -> bool:
    """Return whether one of the signatures was made with one of `secrets`, within `tolerance` of `now`.

    Takes constant time for signatures of the right length, and raises nothing for any signature or timestamp.
    """
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 12):
        return False
    if abs(int(timestamp) - now.timestamp()) > tolerance.total_seconds():
        return False
    signed = f"{id}.{timestamp}.".encode("utf-8", "replace") + body
    signatures = [part.encode("utf-8", "replace") for part in signature.split(" ", _MAX_SIGNATURES)[:_MAX_SIGNATURES]]
    is_valid = False
    for secret in secrets:
        expected = _v1(decode(secret), signed).encode()
        for candidate in signatures:
            is_valid |= hmac.compare_digest(expected, candidate)
    return is_valid


def _v1(key: bytes, signed: bytes) -> str:
    return "v1," + base64.b64encode(hmac.digest(key, signed, "sha256")).decode("ascii")
