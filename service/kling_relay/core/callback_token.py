"""Callback tokens: an HMAC of the task's id, so that a forged hook costs no look-up and opens no other task.

The newest key makes tokens, every key still kept accepts them, so that keys rotate under running tasks.
"""

import base64
import hmac
from collections.abc import Sequence
from uuid import UUID

_PURPOSE = b"kling-relay callback token v1\x00"
"""Keeps a token from being anything else that the same keys make."""
_BYTES = 24
"""192 bits, which Base64 writes without padding."""


def make(keys: Sequence[bytes], task: UUID) -> str:
    """Return the token of `task` by the newest key, `keys[0]`: 32 characters that are safe in a path."""
    return _token(keys[0], task).decode("ascii")


def verify(keys: Sequence[bytes], task: UUID, token: str) -> bool:
    """Return whether `token` is `task`'s by any of `keys`, in a time that does not tell how near it came."""
    given = token.encode("utf-8", "replace")
    found = False
    for key in keys:
        found |= hmac.compare_digest(_token(key, task), given)
    return found


def _token(key: bytes, task: UUID) -> bytes:
    return base64.urlsafe_b64encode(hmac.digest(key, _PURPOSE + task.bytes, "sha256")[:_BYTES])
