"""Every refusal has a code, and every code a status."""

import pytest

from kling_relay.core import errors
from kling_relay.core.errors import HTTP_STATUS, Fault, InvalidOrder, ProviderRefused, Refusal, told

KINDS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, Refusal) and kind not in {InvalidOrder, ProviderRefused}
]


@pytest.mark.parametrize("kind", KINDS)
def test_a_refusal_says_its_docstring_unless_it_knows_better(kind: type[Refusal]) -> None:
    assert kind().message == kind.__doc__
    assert kind("because").message == "because"
    assert kind().http_status == HTTP_STATUS[kind.code]
    assert kind.type == kind.type.lower()


def test_kinds_of_refusal_are_told_apart_by_their_type() -> None:
    kinds: list[type[Refusal]] = [*KINDS, InvalidOrder, ProviderRefused]
    types = [kind.type for kind in kinds]
    assert len(types) == len(set(types))


def test_what_the_provider_said_is_passed_on_to_the_letter() -> None:
    refusal = ProviderRefused(1303, "parallel task over resource pack limit", 429, retry_after=2.0)
    assert (refusal.code, refusal.http_status, refusal.retry_after) == (1303, 429, 2.0)
    assert refusal.message == "parallel task over resource pack limit"


def test_a_refusal_that_came_with_a_success_is_a_bad_gateway() -> None:
    assert ProviderRefused(1201, "no", 200).http_status == 502


def test_a_code_can_be_sharper_than_its_kinds() -> None:
    assert errors.Unauthenticated(code=1004).http_status == 401
    assert errors.Unavailable(retry_after=30).retry_after == 30


def test_endless_faults_make_a_bounded_message() -> None:
    line = told(Fault(f"f{index}", "is wrong") for index in range(1000))
    assert line.count("is wrong") == 20
    assert line.endswith("and 980 more")
