"""A ciphertext decrypts only with a configured key, only in its own row, and only unchanged."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kling_relay.store.access.encryption import DecryptionError, Encryptor

ROW = b"subscriptions.secret:1"


@given(st.binary(max_size=200), st.binary(max_size=50))
def test_a_ciphertext_decrypts_with_its_associated_data_alone(plaintext: bytes, associated_data: bytes) -> None:
    encryptor = Encryptor([b"one"])
    ciphertext = encryptor.encrypt(plaintext, associated_data)
    assert encryptor.decrypt(ciphertext, associated_data) == plaintext
    assert encryptor.encrypt(plaintext, associated_data) != ciphertext
    assert len(plaintext) < 8 or plaintext not in ciphertext
    with pytest.raises(DecryptionError):
        encryptor.decrypt(ciphertext, associated_data + b"2")


def test_keys_rotate() -> None:
    old, both, new = Encryptor([b"one"]), Encryptor([b"two", b"one"]), Encryptor([b"two"])
    ciphertext = old.encrypt(b"whsec", ROW)
    assert both.decrypt(ciphertext, ROW) == b"whsec"
    assert both.is_outdated(ciphertext)
    reencrypted = both.encrypt(both.decrypt(ciphertext, ROW), ROW)
    assert not both.is_outdated(reencrypted)
    assert new.decrypt(reencrypted, ROW) == b"whsec"
    with pytest.raises(DecryptionError, match="does not have"):
        new.decrypt(ciphertext, ROW)


@given(st.data())
def test_a_changed_bit_is_noticed(data: st.DataObject) -> None:
    encryptor = Encryptor([b"one"])
    ciphertext = bytearray(encryptor.encrypt(b"whsec", ROW))
    ciphertext[data.draw(st.integers(0, len(ciphertext) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(DecryptionError):
        encryptor.decrypt(bytes(ciphertext), ROW)


@given(st.binary(max_size=60))
def test_bytes_that_were_never_encrypted_are_refused(junk: bytes) -> None:
    with pytest.raises(DecryptionError):
        Encryptor([b"one"]).decrypt(junk, ROW)


@pytest.mark.parametrize("keys", [[], [b""], [b"one", b""]])
def test_an_encryptor_needs_keys_that_are_not_empty(keys: list[bytes]) -> None:
    with pytest.raises(ValueError, match="key"):
        Encryptor(keys)


def test_an_encryptor_does_not_reveal_its_keys() -> None:
    encryptor = Encryptor([b"very secret"])
    assert "very secret" not in f"{encryptor!r} {vars(encryptor)!r}"
