"""A text with characters beyond ASCII is found without reading the long ones beside it."""

import pytest

from kling_relay.core.json_limits import has_long_wide_text

LONG = b"A" * 3_000
LIMIT = 1_000


@pytest.mark.parametrize(
    "body",
    [
        b'{"a": "' + LONG + b'"}',
        b'{"prompt": "\xe5\xb0\x8f", "a": "' + LONG + b'"}',
        b'{"a": "' + LONG + b'", "prompt": "\xe5\xb0\x8f \\" \\\\", "b": "' + LONG + b'"}',
        b'{"a": "' + LONG + b"\\/\\u002b\\u0041" + LONG + b'", "b": "\\u4e00"}',
        b'{"\xc3\xa9": "' + LONG + b'"}',
        b"",
    ],
)
def test_long_text_in_ascii_beside_short_text_in_any_characters_is_not_wide(body: bytes) -> None:
    assert not has_long_wide_text(body, LIMIT)
    assert not has_long_wide_text(bytearray(body), LIMIT)


@pytest.mark.parametrize(
    "text",
    [
        LONG + b"\xe5\xb0\x8f",
        b"\xe5\xb0\x8f" + LONG,
        LONG + b"\\ud83d\\ude00",
        b"\\u4e00" + LONG,
        b'\\"' * 600 + b"\xe5\xb0\x8f",
        b'A\\\\\\"' * 600 + b"\xf0\x9f\x98\x80" + b'\\"' * 600,
    ],
)
def test_a_long_text_with_a_character_beyond_ascii_is_wide(text: bytes) -> None:
    assert has_long_wide_text(b'{"a": "b", "c": "' + text + b'"}', LIMIT)
    assert has_long_wide_text(b'{"\xc3\xa9": "\xc3\xa9", "c": "' + text + b'"}', LIMIT)
