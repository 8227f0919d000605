"""Headers and identifiers from untrusted senders."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kling_relay.core.untrusted import identifier, retry_after_seconds, to_utf8

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("120", 120.0),
        (" 0 ", 0.0),
        ("9" * 60, 86_400.0),
        ("Sun, 22 Nov 2026 12:01:30 GMT", 90.0),
        ("Sun, 22 Nov 2026 13:01:30 +0100", 90.0),
        ("Sun, 22 Nov 2026 12:01:30 -0000", 90.0),
        ("Sun, 22 Nov 2020 12:00:00 GMT", 0.0),
        ("Sun, 22 Nov 2099 12:00:00 GMT", 86_400.0),
        (None, None),
        ("", None),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("٣", None),
        ("Sun, 99 Nov 2026 12:01:30 GMT", None),
    ],
)
def test_retry_after_is_read_in_both_forms_and_bounded(header: str | None, seconds: float | None) -> None:
    assert retry_after_seconds(header, NOW) == seconds


@given(st.text(max_size=70) | st.from_regex(r"\w{3}, \d{1,2} \w{3} \d{1,5} \d\d:\d\d(:\d\d)? [-+]?\w+"))
def test_no_header_raises_an_exception(header: str) -> None:
    wait = retry_after_seconds(header, NOW)
    assert wait is None or 0 <= wait <= 86_400


@given(st.integers() | st.text(alphabet=st.characters(exclude_categories=[])) | st.none() | st.booleans())
def test_an_identifier_is_safe_in_a_path_and_in_the_database(value: object) -> None:
    result = identifier(value)
    assert result is None or (result.isprintable() and " " not in result and 0 < len(result) <= 128)


@given(
    st.binary(max_size=64), st.sampled_from([None, "text/plain; charset=gbk", "a; charset=utf-16", "charset=latin1"])
)
def test_any_bytes_in_any_charset_are_returned_without_an_exception(body: bytes, content_type: str | None) -> None:
    assert isinstance(to_utf8(body, content_type), bytes)


@given(st.text(alphabet=st.characters(codec="gb18030"), max_size=40))
@pytest.mark.long
def test_json_in_gb18030_is_read(text: str) -> None:
    quoted = f'"{text}"'
    assert to_utf8(quoted.encode("gb18030"), "application/json; charset=GB2312") == quoted.encode()


def test_a_body_in_utf8_that_is_declared_as_latin1_stays_as_it_is() -> None:
    assert to_utf8("失败".encode(), "application/json;charset=ISO-8859-1") == "失败".encode()
    assert to_utf8(b"caf\xe9", "application/json;charset=ISO-8859-1") == "café".encode()
