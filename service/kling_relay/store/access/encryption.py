"""Secrets at rest: AES-256-GCM under RELAY_SIGNING_KEYS, so that a stolen dump signs nothing.

The newest key encrypts, every configured key decrypts, and a ciphertext names its key. The associated data (table,
column, row) is authenticated too, so no secret can be moved to another row.
"""

from collections.abc import Callable, Sequence
from secrets import token_bytes

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

_VERSION = b"\x01"
_KEY_NAME_BYTES = 4
_NONCE_BYTES = 12
_TAG_BYTES = 16
_HEADER_BYTES = len(_VERSION) + _KEY_NAME_BYTES
_MIN_BYTES = _HEADER_BYTES + _NONCE_BYTES + _TAG_BYTES
_HKDF_INFO = b"kling-relay seal v1"
"""Never change this: every stored ciphertext depends on it."""


class DecryptionError(Exception):
    """The ciphertext needs another key or other associated data, was changed, or is not a ciphertext at all."""


class Encryptor:
    """Encrypts with the first of `keys` and decrypts with any of them; `random_bytes(n)` makes the nonces."""

    def __init__(self, keys: Sequence[bytes], random_bytes: Callable[[int], bytes] = token_bytes) -> None:
        """Raise ValueError if there is no key, or an empty one."""
        if not keys:
            raise ValueError("encryption needs at least one key")
        derived = [_derive(key) for key in keys]
        self._newest = derived[0][0]
        # If two keys derive the same name, the newer one wins. The chance is one in four thousand million.
        self._ciphers = {name: AESGCM(key) for name, key in reversed(derived)}
        self._random_bytes = random_bytes

    def encrypt(self, plaintext: bytes, associated_data: bytes) -> bytes:
        """Return the ciphertext, 33 bytes longer than `plaintext`."""
        nonce = self._random_bytes(_NONCE_BYTES)
        header = _VERSION + self._newest
        return header + nonce + self._ciphers[self._newest].encrypt(nonce, plaintext, header + associated_data)

    def decrypt(self, ciphertext: bytes, associated_data: bytes) -> bytes:
        """Return the plaintext that was encrypted with this `associated_data`; raise DecryptionError otherwise."""
        cipher = self._ciphers.get(ciphertext[len(_VERSION) : _HEADER_BYTES])
        if len(ciphertext) < _MIN_BYTES or not ciphertext.startswith(_VERSION) or cipher is None:
            raise DecryptionError("not encrypted, or encrypted with a key that RELAY_SIGNING_KEYS does not have")
        header, rest = ciphertext[:_HEADER_BYTES], ciphertext[_HEADER_BYTES:]
        try:
            return cipher.decrypt(rest[:_NONCE_BYTES], rest[_NONCE_BYTES:], header + associated_data)
        except InvalidTag:
            raise DecryptionError("encrypted for another row, or changed since") from None

    def is_outdated(self, ciphertext: bytes) -> bool:
        """Return whether `ciphertext` is not under the newest key, and should be encrypted again."""
        return not ciphertext.startswith(_VERSION + self._newest)


def _derive(key: bytes) -> tuple[bytes, bytes]:
    """Return a name and an AES key; neither reveals `key` or anything else derived from it."""
    if not key:
        raise ValueError("a key must not be empty")
    derived = HKDF(algorithm=SHA256(), length=_KEY_NAME_BYTES + 32, salt=None, info=_HKDF_INFO).derive(key)
    return derived[:_KEY_NAME_BYTES], derived[_KEY_NAME_BYTES:]
