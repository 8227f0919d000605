"""Client keys: each contains its id, is found by its digest, and may do what its scopes allow."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kling_relay.core import key
from kling_relay.core.key import Caller, Scope


@given(st.uuids(), st.integers(0, 2**256 - 1))
def test_a_key_contains_its_id_and_all_its_random_bits(identifier: UUID, chance: int) -> None:
    text = key.make_key(identifier, chance)
    assert key.key_id(text) == identifier
    assert len(text) == len("kr-") + 32 + 1 + 43
    assert text.isascii()
    assert text != key.make_key(identifier, chance ^ 1)


@given(st.text())
@pytest.mark.long
def test_any_text_can_be_a_key_and_has_one_id(text: str) -> None:
    assert key.key_id(text) == key.key_id(text)
    assert len(key.digest(text)) == 32
    assert key.digests_equal(key.digest(text), key.digest(text))
    assert not key.digests_equal(key.digest(text), key.digest(text + "x"))


@pytest.mark.parametrize("scope", Scope)
def test_admin_includes_every_scope_and_the_others_only_themselves(scope: Scope) -> None:
    def may(*held: Scope) -> bool:
        return Caller(client=UUID(int=1), key=UUID(int=2), scopes=frozenset(held), name="a").may(scope)

    assert may(Scope.ADMIN)
    assert may(scope)
    assert not may()
    assert not may(*set(Scope) - {scope, Scope.ADMIN})


def test_an_unknown_scope_is_named() -> None:
    assert key.parse_scopes(["read", "submit"]) == {Scope.READ, Scope.SUBMIT}
    with pytest.raises(ValueError, match="write"):
        key.parse_scopes(["read", "write"])
