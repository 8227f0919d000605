"""Standard Webhooks: what is signed is "{id}.{timestamp}.{body}", by HMAC-SHA256, with every secret that holds.

While a secret rotates both sign, and a receiver accepts either; a signature older or newer than five minutes is
refused, so that a recorded call cannot be played back later.
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
"""Bytes of chance that a secret is made of, at least (the specification's lower bound)."""
_MAX_SIGNATURES = 16


def new_secret(chance: bytes) -> str:
    """Return a secret made of `chance`: 24 to 64 bytes, as the specification has it."""
    if not MIN_RANDOM_BYTES <= len(chance) <= 64:
        raise ValueError("a secret takes 24 to 64 bytes of chance")
    return PREFIX + base64.b64encode(chance).decode("ascii")


@lru_cache(maxsize=16384)
def decode(secret: str) -> bytes:
    """Return the key inside `secret` (with or without `whsec_`); ValueError, which never quotes it, where none is."""
    text = secret.removeprefix(PREFIX).rstrip("=")
    try:
        key = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("a webhook secret is whsec_ and Base64") from None
    if not key:
        raise ValueError("a webhook secret may not be empty")
    return key


def timestamp(at: datetime) -> str:
    """Return the header `webhook-timestamp`: whole seconds since 1970."""
    return str(int(at.timestamp()))


def sign(secrets: Sequence[str], id: str, at: datetime, body: bytes) -> str:  # noqa: A002 - the specification's word
    """Return the header `webhook-signature`: one `v1,<Base64>` per secret, separated by spaces."""
    signed = f"{id}.{int(at.timestamp())}.".encode() + body
    return " ".join([_v1(decode(secret), signed) for secret in secrets])


def verify(
    secrets: Sequence[str],
    id: str,  # noqa: A002 - the specification's word
    timestamp: str,
    signature: str,
    body: bytes,
    *,
    now: datetime,
    tolerance: timedelta = TOLERANCE,
) -> bool:
    """Return whether one of the signatures is by one of `secrets` and made within `tolerance` of `now`.

    Takes constant time for signatures of the right length; never raises for what a stranger sent.
    """
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 12):
        return False
    if abs(int(timestamp) - now.timestamp()) > tolerance.total_seconds():
        return False
    signed = f"{id}.{timestamp}.".encode("utf-8", "replace") + body
    given = [part.encode("utf-8", "replace") for part in signature.split(" ", _MAX_SIGNATURES)[:_MAX_SIGNATURES]]
    holds = False
    for secret in secrets:
        expected = _v1(decode(secret), signed).encode()
        for part in given:
            holds |= hmac.compare_digest(expected, part)
    return holds


def _v1(key: bytes, signed: bytes) -> str:
    return "v1," + base64.b64encode(hmac.digest(key, signed, "sha256")).decode("ascii")
