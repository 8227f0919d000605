"""Secrets at rest open only with a key that is kept, only where they belong, and only unchanged."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kling_relay.store.access.encryption import Sealer, SealError

HERE = b"subscriptions.secret:1"


@given(st.binary(max_size=200), st.binary(max_size=50))
def test_what_is_sealed_opens_where_it_belongs(plain: bytes, context: bytes) -> None:
    sealer = Sealer([b"one"])
    sealed = sealer.seal(plain, context)
    assert sealer.open(sealed, context) == plain
    assert sealer.seal(plain, context) != sealed
    assert len(plain) < 8 or plain not in sealed
    with pytest.raises(SealError):
        sealer.open(sealed, context + b"2")


def test_keys_rotate() -> None:
    old, rotated, new = Sealer([b"one"]), Sealer([b"two", b"one"]), Sealer([b"two"])
    sealed = old.seal(b"whsec", HERE)
    assert rotated.open(sealed, HERE) == b"whsec"
    assert rotated.is_stale(sealed)
    again = rotated.seal(rotated.open(sealed, HERE), HERE)
    assert not rotated.is_stale(again)
    assert new.open(again, HERE) == b"whsec"
    with pytest.raises(SealError, match="not kept"):
        new.open(sealed, HERE)


@given(st.data())
def test_a_changed_bit_is_noticed(data: st.DataObject) -> None:
    sealer = Sealer([b"one"])
    sealed = bytearray(sealer.seal(b"whsec", HERE))
    sealed[data.draw(st.integers(0, len(sealed) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(SealError):
        sealer.open(bytes(sealed), HERE)


@given(st.binary(max_size=60))
def test_what_was_never_sealed_is_refused(junk: bytes) -> None:
    with pytest.raises(SealError):
        Sealer([b"one"]).open(junk, HERE)


@pytest.mark.parametrize("keys", [[], [b""], [b"one", b""]])
def test_no_key_is_no_sealer(keys: list[bytes]) -> None:
    with pytest.raises(ValueError, match="key"):
        Sealer(keys)


def test_a_sealer_tells_nothing_of_its_keys() -> None:
    sealer = Sealer([b"very secret"])
    assert "very secret" not in f"{sealer!r} {vars(sealer)!r}"
