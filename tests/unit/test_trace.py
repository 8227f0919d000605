"""traceparent: read and written as in the recommendation."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kling_relay.core.trace import Trace, parse


@given(st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1), st.booleans())
def test_a_traceparent_is_read_as_it_was_written(trace: int, span: int, sampled: bool) -> None:
    one = Trace(trace, span, sampled)
    assert parse(one.text) == one


@given(st.text())
def test_no_text_raises_an_exception(text: str) -> None:
    assert parse(text) is None or text.strip()[2] == "-"


GOOD = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        GOOD.replace("00-", "ff-", 1),
        GOOD + "-more",
        GOOD.upper(),
        GOOD[:-1],
        "00-" + "0" * 32 + "-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-" + "0" * 16 + "-01",
        GOOD.replace("4bf9", "4bg9"),
    ],
)
def test_an_invalid_traceparent_is_none(text: str | None) -> None:
    assert parse(text) is None


def test_later_versions_and_other_flags_are_accepted() -> None:
    expected = Trace(0x4BF92F3577B34DA6A3CE929D0E0E4736, 0x00F067AA0BA902B7, sampled=True)
    assert parse(GOOD) == expected
    assert parse(f" {GOOD} ") == expected
    assert parse("01" + GOOD[2:] + "-more") == expected
    assert parse(GOOD[:-2] + "ff") == expected
    assert parse(GOOD[:-2] + "02") == Trace(expected.trace, expected.span, sampled=False)
