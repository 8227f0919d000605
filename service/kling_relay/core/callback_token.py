"""Callback tokens: an HMAC of the task's id, so that a forged callback needs no database read and opens no other task.

The newest key makes tokens and every configured key accepts them, so keys can rotate while tasks run.
"""

import base64
import hmac
from collections.abc import Sequence
from uuid import UUID

_PURPOSE = b"kling-relay callback token v1\x00"
"""Separates tokens from everything else that is signed with the same keys."""
_BYTES = 24
"""192 bits, which Base64 encodes without padding."""


def make(keys: Sequence[bytes], task: UUID) -> str:
    """Return the token of `task` under the newest key, `keys[0]`: 32 characters that are safe in a path."""
    return _token(keys[0], task).decode("ascii")


def verify(keys: Sequence[bytes], task: UUID, token: str) -> bool:
    """Return whether `token` belongs to `task` under any of `keys`, in constant time."""
    received = token.encode("utf-8", "replace")
    is_valid = False
    for key in keys:
        is_valid |= hmac.compare_digest(_token(key, task), received)
    return is_valid


def _token(key: bytes, task: UUID) -> bytes:
    return base64.urlsafe_b64encode(hmac.digest(key, _PURPOSE + task.bytes, "sha256")[:_BYTES])
