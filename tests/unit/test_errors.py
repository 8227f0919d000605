"""Every error class has a code, and every code a status, a meaning, advice and an exit code."""

import pytest

from kling_relay.core import errors
from kling_relay.core.errors import (
    CODES,
    Fault,
    InvalidOrder,
    InvalidRequest,
    ProviderRefused,
    Refusal,
    UndecodableBody,
    join_faults,
)

SPECIAL = [InvalidOrder, ProviderRefused, UndecodableBody]
"""These need more than a message."""
CLASSES: list[type[Refusal]] = [
    error
    for error in vars(errors).values()
    if isinstance(error, type) and issubclass(error, Refusal) and error not in SPECIAL
]


@pytest.mark.parametrize("error", CLASSES)
def test_an_error_has_its_docstring_as_message_unless_it_is_given_one(error: type[Refusal]) -> None:
    assert error().message == error.__doc__
    assert error("because").message == "because"
    assert error.type == error.type.lower()


@pytest.mark.parametrize("error", CLASSES)
def test_an_error_has_the_status_of_its_code(error: type[Refusal]) -> None:
    expected = 408 if error is errors.BodyTimeout else CODES[error.code].status
    assert error().http_status == expected


def test_error_types_are_unique() -> None:
    every: list[type[Refusal]] = [*CLASSES, *SPECIAL]
    types = [error.type for error in every]
    assert len(types) == len(set(types))


def test_every_code_is_used_by_a_class_or_by_the_authenticator() -> None:
    of_classes = {error.code for error in CLASSES}
    assert set(CODES) == of_classes | {InvalidOrder.code} | {1001, 1003, 1004}


@pytest.mark.parametrize("code", CODES)
def test_a_code_has_a_meaning_advice_and_an_exit_code(code: int) -> None:
    entry = CODES[code]
    assert 400 <= entry.status <= 599
    assert entry.meaning
    assert entry.advice.endswith(".")
    assert entry.exit_code in {1, 3}


def test_codes_that_are_worth_another_try_have_the_exit_code_for_it() -> None:
    assert {code for code, entry in CODES.items() if entry.exit_code == 3} == {1302, 5001}


def test_the_provider_s_words_are_passed_on_unchanged() -> None:
    refusal = ProviderRefused(1303, "parallel task over resource pack limit", 429, retry_after=2.0)
    assert (refusal.code, refusal.http_status, refusal.retry_after) == (1303, 429, 2.0)
    assert refusal.message == "parallel task over resource pack limit"


def test_a_refusal_with_a_status_of_success_is_a_bad_gateway() -> None:
    assert ProviderRefused(1201, "no", 200).http_status == 502


def test_an_error_can_have_another_code_than_its_class() -> None:
    assert errors.Unauthenticated(code=1004).http_status == 401
    assert errors.Unavailable(retry_after=30).retry_after == 30


def test_faults_make_the_message_of_an_invalid_request() -> None:
    refusal = InvalidRequest(faults=[Fault("since", "must be before until")])
    assert (refusal.message, [fault.field for fault in refusal.faults]) == ("since must be before until", ["since"])
    assert InvalidRequest("The body is empty.").faults == ()


def test_a_thousand_faults_make_a_message_of_twenty() -> None:
    line = join_faults(Fault(f"f{index}", "is wrong") for index in range(1000))
    assert line.count("is wrong") == 20
    assert line.endswith("and 980 more")
