"""Client keys: opaque text that names its own id, kept only as a digest; a caller is what a good key makes of it.

`kr-<id, 32 hex>-<256 bits of chance, 43 characters of base64url>`. The id alone is no secret: clients who sign JWTs
(AK/SK) use it as their access key and the whole text as their secret key. Any other text can be a key too, where an
operator chose it; its id is then made of its digest.
"""

import base64
import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from kling_relay.core.ids import uuid_from_digest

PREFIX = "kr"
SECRET_BITS = 256
MAX_CHARACTERS = 512
"""No key is longer; what is longer is not looked for."""
MIN_SIGNING_CHARACTERS = 32
"""Bytes of a key that may sign JWTs (RFC 7518 §3.2 for HS256)."""


class Scope(StrEnum):
    """What a key may do: order, look, or change subscriptions and deliveries; `admin` holds the other two."""

    SUBMIT = "submit"
    READ = "read"
    ADMIN = "admin"


ALL_SCOPES = frozenset(Scope)


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who asks: the client whose things these are, and the key by which it asks."""

    client: UUID
    key: UUID
    scopes: frozenset[Scope]
    name: str

    def may(self, scope: Scope) -> bool:
        return scope in self.scopes or Scope.ADMIN in self.scopes


def make_key(identifier: UUID, chance: int) -> str:
    """Return the key of this id and 256 bits of chance."""
    secret = base64.urlsafe_b64encode((chance % (1 << SECRET_BITS)).to_bytes(SECRET_BITS // 8, "big"))
    return f"{PREFIX}-{identifier.hex}-{secret.decode('ascii').rstrip('=')}"


def digest(text: str) -> bytes:
    """Return what is kept of a key: 256 bits of chance need no slow hash."""
    return hashlib.sha256(text.encode("utf-8", "replace")).digest()


def digests_equal(one: bytes, other: bytes) -> bool:
    """Return whether two digests are equal, in a time that does not tell how nearly."""
    return hmac.compare_digest(one, other)


def key_id(text: str) -> UUID:
    """Return the id that a key names, or for a text of somebody's own choice one made of its digest."""
    parts = text.split("-", 2)
    if len(parts) == 3 and parts[0] == PREFIX and len(parts[1]) == 32:
        try:
            return UUID(parts[1])
        except ValueError:
            pass
    return uuid_from_digest(digest(text))


def parse_scopes(words: Iterable[str]) -> frozenset[Scope]:
    """Return the scopes that these words name; ValueError names the ones that are none."""
    given = set(words)
    if unknown := sorted(given - set(Scope)):
        raise ValueError(f"no such scope: {', '.join(unknown)} (known: {', '.join(Scope)})")
    return frozenset(Scope(word) for word in given)
