"""Client keys: opaque text that contains its own id and is looked up by its digest.

The form is `kr-<id, 32 hex>-<256 random bits, 43 characters of base64url>`. The id alone is not secret: clients that
sign JWTs (AK/SK) use it as their access key and the whole text as their secret key. An operator may choose any other
text as a key; its id is then made from its digest.
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
"""The longest key. Longer text is not looked up."""
MIN_SIGNING_CHARACTERS = 32
"""The shortest key that may sign JWTs (RFC 7518 §3.2 for HS256)."""


class Scope(StrEnum):
    """What a key may do: place orders, read, or change subscriptions and deliveries. `admin` includes the other two."""

    SUBMIT = "submit"
    READ = "read"
    ADMIN = "admin"


ALL_SCOPES = frozenset(Scope)


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """The sender of a request: a client, and the key that it used."""

    client: UUID
    key: UUID
    scopes: frozenset[Scope]
    name: str

    def may(self, scope: Scope) -> bool:
        return scope in self.scopes or Scope.ADMIN in self.scopes


def make_key(identifier: UUID, random_bits: int) -> str:
    """Return the key made of this id and 256 random bits."""
    secret = base64.urlsafe_b64encode((random_bits % (1 << SECRET_BITS)).to_bytes(SECRET_BITS // 8, "big"))
    return f"{PREFIX}-{identifier.hex}-{secret.decode('ascii').rstrip('=')}"


def digest(text: str) -> bytes:
    """Return the digest by which a key is looked up. 256 random bits need no slow hash."""
    return hashlib.sha256(text.encode("utf-8", "replace")).digest()


def digests_equal(first: bytes, second: bytes) -> bool:
    """Return whether two digests are equal, in constant time."""
    return hmac.compare_digest(first, second)


def key_id(text: str) -> UUID:
    """Return the id inside a key, or for text that an operator chose, an id made from its digest."""
    parts = text.split("-", 2)
    if len(parts) == 3 and parts[0] == PREFIX and len(parts[1]) == 32:
        try:
            return UUID(parts[1])
        except ValueError:
            pass
    return uuid_from_digest(digest(text))


def parse_scopes(words: Iterable[str]) -> frozenset[Scope]:
    """Return the scopes with these names. Raises ValueError with the unknown ones."""
    names = set(words)
    if unknown := sorted(names - set(Scope)):
        raise ValueError(f"no such scope: {', '.join(unknown)} (known: {', '.join(Scope)})")
    return frozenset(Scope(name) for name in names)
