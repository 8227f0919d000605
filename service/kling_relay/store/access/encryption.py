"""Secrets at rest: sealed by AES-256-GCM under RELAY_SIGNING_KEYS, so that a stolen dump signs nothing.

The newest key seals, every key still kept opens, and a sealed text names its key; its context (table, column, row) is
authenticated with it, so that no secret can be moved to another row.
"""

from collections.abc import Callable, Sequence
from secrets import token_bytes

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

_VERSION = b"\x01"
_NAME = 4
_NONCE = 12
_MIN_BYTES = len(_VERSION) + _NAME + _NONCE + 16
_PURPOSE = b"kling-relay seal v1"


class SealError(Exception):
    """What is sealed cannot be opened: another key, another context, or not a sealed text at all."""


class Sealer:
    """Seals and opens with keys given newest first; `chance` gives so many random bytes, a nonce for each sealing."""

    def __init__(self, keys: Sequence[bytes], chance: Callable[[int], bytes] = token_bytes) -> None:
        """Raise ValueError where there is no key."""
        if not keys:
            raise ValueError("sealing takes at least one key")
        derived = [_derive(key) for key in keys]
        self._newest = derived[0][0]
        # Of two keys with one name the newer is kept: the chance is one in four thousand million.
        self._ciphers = {name: AESGCM(key) for name, key in reversed(derived)}
        self._chance = chance

    def seal(self, plain: bytes, context: bytes) -> bytes:
        """Return `plain` sealed for `context`, some thirty bytes longer."""
        nonce = self._chance(_NONCE)
        head = _VERSION + self._newest
        return head + nonce + self._ciphers[self._newest].encrypt(nonce, plain, head + context)

    def open(self, sealed: bytes, context: bytes) -> bytes:
        """Return what was sealed for `context`; raise `SealError` where that cannot be done."""
        name = sealed[len(_VERSION) : len(_VERSION) + _NAME]
        cipher = self._ciphers.get(name)
        if len(sealed) < _MIN_BYTES or not sealed.startswith(_VERSION) or cipher is None:
            raise SealError("sealed with a key that is not kept, or not sealed")
        head, rest = sealed[: len(_VERSION) + _NAME], sealed[len(_VERSION) + _NAME :]
        try:
            return cipher.decrypt(rest[:_NONCE], rest[_NONCE:], head + context)
        except InvalidTag:
            raise SealError("sealed for something else, or changed") from None

    def is_stale(self, sealed: bytes) -> bool:
        """Return whether an older key than the newest sealed this, so that it should be sealed again."""
        return not sealed.startswith(_VERSION + self._newest)


def _derive(key: bytes) -> tuple[bytes, bytes]:
    """Return a name and an AES key, neither of which tells `key` or what else is made of it."""
    if not key:
        raise ValueError("a key may not be empty")
    made = HKDF(algorithm=SHA256(), length=_NAME + 32, salt=None, info=_PURPOSE).derive(key)
    return made[:_NAME], made[_NAME:]
