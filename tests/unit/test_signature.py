"""Signatures and callback tokens, checked against the provider's test vector and the `standardwebhooks` package."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook

from kling_relay.core import callback_token, signature

SECRET = "whsec_dGVzdHNlY3JldHRlc3RzZWNyZXR0ZXN0c2VjcmV0MTI="
BODY = b'{"id":"1234567890","status":"succeeded","message":"","create_time":1781080778802,"update_time":1781080794151}'
AT = datetime.fromtimestamp(1781080794, UTC)
SIGNED = "v1,UsKlJP00XoQyOn410NM9xv34sP+Gl0jnOO9Lcpr7NJ4="
OTHER = signature.new_secret(b"o" * 24)


def test_the_providers_test_vector_is_signed_alike() -> None:
    assert signature.sign([SECRET], "9876543210", AT, BODY) == SIGNED
    assert signature.verify([SECRET], "9876543210", "1781080794", SIGNED, BODY, now=AT)


@given(chance=st.binary(min_size=24, max_size=64), id_=st.text("abc_0123", min_size=1), body=st.text())
def test_the_package_makes_the_same_signature(chance: bytes, id_: str, body: str) -> None:
    secret = signature.new_secret(chance)
    assert signature.sign([secret], id_, AT, body.encode()) == Webhook(secret).sign(id_, AT, body)


def test_the_package_accepts_a_signature_made_during_rotation() -> None:
    now = datetime.now(UTC)
    headers = {
        "webhook-id": "evt_1",
        "webhook-timestamp": signature.timestamp(now),
        "webhook-signature": signature.sign([OTHER, SECRET], "evt_1", now, BODY),
    }
    for secret in (SECRET, OTHER):
        assert Webhook(secret).verify(BODY, headers)["id"] == "1234567890"


def test_any_valid_secret_and_any_of_several_signatures_suffice() -> None:
    several = f"v1a,xyz v1,{'A' * 43}= {SIGNED}"
    assert signature.verify([OTHER, SECRET], "9876543210", "1781080794", several, BODY, now=AT)
    assert not signature.verify([OTHER], "9876543210", "1781080794", several, BODY, now=AT)


@pytest.mark.parametrize("late", [timedelta(seconds=301), timedelta(seconds=-301)])
def test_an_old_or_future_signature_is_refused(late: timedelta) -> None:
    assert not signature.verify([SECRET], "9876543210", "1781080794", SIGNED, BODY, now=AT + late)


@pytest.mark.parametrize("stamp", ["", "-1", "1781080794.0", "١٧٨١٠٨٠٧٩٤", "9" * 400, "nan"])
def test_a_malformed_timestamp_is_refused(stamp: str) -> None:
    assert not signature.verify([SECRET], "9876543210", stamp, SIGNED, BODY, now=AT)


@given(st.text(alphabet=st.characters(exclude_categories=[])), st.text(alphabet=st.characters(exclude_categories=[])))
def test_a_forged_signature_is_refused_without_an_exception(forged: str, id_: str) -> None:
    assert not signature.verify([SECRET], id_, "1781080794", forged, BODY, now=AT)


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_?!", "whsec_\u00e9"])
def test_an_error_about_a_secret_does_not_quote_it(secret: str) -> None:
    with pytest.raises(ValueError, match="webhook secret") as fault:
        signature.decode(secret)
    assert "?!" not in str(fault.value)


keys = st.lists(st.binary(min_size=1, max_size=64), min_size=1, max_size=3, unique=True)


@given(keys, st.uuids(), st.uuids())
def test_a_token_is_valid_for_its_own_task_only(old: list[bytes], task: UUID, other: UUID) -> None:
    token = callback_token.make(old, task)
    assert callback_token.verify(old, task, token)
    assert callback_token.verify([b"a newer key", *old], task, token)
    assert callback_token.verify(old, other, token) == (task == other)
    assert len(token) == 32
    assert token.replace("-", "").replace("_", "").isalnum()


def test_a_token_is_invalid_without_its_key() -> None:
    task = UUID(int=7)
    assert not callback_token.verify([b"new"], task, callback_token.make([b"old"], task))


@given(st.text(alphabet=st.characters(exclude_categories=[])))
def test_a_forged_token_is_refused_without_an_exception(forged: str) -> None:
    assert not callback_token.verify([b"key"], UUID(int=7), forged)
