"""Reads JSON and text from untrusted senders. The result is safe to store; anything else raises `UnreadableError`.

No input raises another exception. Deep nesting is detected before parsing, NaN and infinities read as null, and text
loses what PostgreSQL cannot store (NUL, halves of surrogate pairs).
"""

import json
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, overload

import orjson

MAX_BYTES = 1024 * 1024
"""The largest body that is read."""
MAX_WAIT = 86_400.0
"""Seconds; a longer Retry-After counts as one day."""

MAX_PARTS = 20
"""How many parts of an error's words are read."""

_CHARSET = re.compile(r"charset\s*=\s*[\"']?([A-Za-z0-9_.:-]{1,40})", re.IGNORECASE)
_WIDE = {
    name: codec
    for codec, names in {
        "gb18030": "gbk gb2312 gb_2312-80 gb18030 x-gbk cp936 ms936 windows-936 chinese",
        "hz": "hz hz-gb-2312",
        "big5hkscs": "big5 big5-hkscs cn-big5 x-x-big5",
        "cp950": "cp950 ms950 windows-950",
        "cp932": "shift_jis shift-jis sjis x-sjis ms_kanji cp932 windows-31j",
        "euc_jp": "euc-jp",
        "iso2022_jp": "iso-2022-jp",
        "cp949": "euc-kr ks_c_5601-1987 cp949 ms949 windows-949",
        "utf-16": "utf-16 utf16 ucs-2 unicode",
        "utf-16-le": "utf-16le",
        "utf-16-be": "utf-16be",
        "utf-32": "utf-32 utf32",
        "utf-32-le": "utf-32le",
        "utf-32-be": "utf-32be",
    }.items()
    for name in names.split()
}
_NARROW = {
    name: codec
    for codec, names in {
        "cp1252": "iso-8859-1 iso8859-1 latin1 latin-1 windows-1252 cp1252",  # as browsers read all of them
        "iso8859-15": "iso-8859-15 latin-9",
        "cp1250": "windows-1250",
        "iso8859-2": "iso-8859-2",
        "cp1251": "windows-1251 cp1251",
        "koi8-r": "koi8-r",
        "cp1254": "windows-1254 iso-8859-9",
        "cp874": "windows-874 tis-620",
        "cp1258": "windows-1258",
    }.items()
    for name in names.split()
}
"""Nearly any bytes are text in these, and frameworks name them by default: they count only if a body is not UTF-8."""
_UTF8_MARK = b"\xef\xbb\xbf"
_MARKS = {b"\xff\xfe\x00\x00": "utf-32", b"\x00\x00\xfe\xff": "utf-32", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
_ALL_MARKS = (_UTF8_MARK, *_MARKS)

_WORDS = ("message", "msg", "detail", "reason", "error")
_PLACES = ("loc", "field", "path", "param")

_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*+"?', re.DOTALL)
_BRACKETS = re.compile(rb"[\[\]{}]+")


class UnreadableError(Exception):
    """The body has no meaning that we know; the message says why."""


def parse_json(body: bytes, depth: int = 32) -> Any:
    """Return the JSON value in `body`, with NaN and infinities as None. Raises `UnreadableError` if it is not JSON.

    Invalid UTF-8 becomes U+FFFD. A byte order mark and raw control characters inside strings are accepted. Whole
    numbers beyond 64 bits may become floats, as in JavaScript.
    """
    if len(body) > MAX_BYTES:
        raise UnreadableError(f"larger than {MAX_BYTES} bytes")
    # Most bodies have fewer brackets than allowed levels; only the others are measured.
    if body.count(b"[") + body.count(b"{") > depth and _depth(body) > depth:
        raise UnreadableError(f"nested deeper than {depth} levels")
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        pass  # orjson is stricter; fall back to the standard library
    try:
        return _DECODER.decode(body.decode("utf-8-sig", "replace"))
    except (ValueError, RecursionError):
        raise UnreadableError("not JSON") from None


@overload
def to_utf8(body: bytes, content_type: str | None) -> bytes: ...
@overload
def to_utf8(body: bytes | bytearray, content_type: str | None) -> bytes | bytearray: ...
def to_utf8(body: bytes | bytearray, content_type: str | None) -> bytes | bytearray:
    """Return `body` in UTF-8, decoded as its byte order mark or the charset of its Content-Type says.

    A body that is not text in that charset is returned as it is.
    """
    if body.startswith(_ALL_MARKS):
        if body.startswith(_UTF8_MARK):
            return body[3:]
        return _transcoded(body, next(codec for mark, codec in _MARKS.items() if body.startswith(mark)))
    if content_type is None or (named := _CHARSET.search(content_type)) is None:
        return body
    charset = named[1].lower()
    if charset in _WIDE:
        codec = _WIDE[charset]
        if codec in {"utf-16", "utf-32"} and body[:1] == b"\x00":  # JSON begins with an ASCII character
            codec += "-be"
        return _transcoded(body, codec)
    return _transcoded(body, _NARROW[charset]) if charset in _NARROW and not _is_utf8(body) else body


def words(value: Any, depth: int = 3) -> str:
    """Return the words in the error `value`: a text, an object with a message, or a list of these; "" if it has none.

    An object that names a place, as FastAPI's do, has it in front: "body.prompt: Field required".
    """
    match value:
        case str():
            return value.strip()
        case dict() if depth:
            text = next(filter(None, (words(value.get(key), depth - 1) for key in _WORDS)), "")
            place = next(filter(None, (_place(value.get(key)) for key in _PLACES)), "")
            return f"{place}: {text}" if place and text else text
        case list() if depth:
            return "; ".join(filter(None, (words(item, depth - 1) for item in value[:MAX_PARTS])))
    return ""


def clean(text: str, max_bytes: int) -> str:
    """Return `text` without NUL and lone surrogates, cut between characters to at most `max_bytes` of UTF-8."""
    if "\x00" in text:
        text = text.replace("\x00", "\ufffd")
    if text.isascii():
        return text[:max_bytes]
    # A character has at least one byte, so the first slice avoids encoding the whole of a huge text.
    return text[:max_bytes].encode("utf-8", "replace")[:max_bytes].decode("utf-8", "ignore")


def identifier(value: Any, limit: int = 128) -> str | None:
    """Return `value` as an identifier (printable text of at most `limit` characters without spaces), or None."""
    if not isinstance(value, str):
        if not isinstance(value, int) or isinstance(value, bool) or abs(value) >= 10**limit:
            return None
        value = str(value)
    return value if 0 < len(value) <= limit and value.isprintable() and " " not in value else None


def retry_after_seconds(header: str | None, now: datetime) -> float | None:
    """Return the header `Retry-After` (seconds or an HTTP date) as seconds from `now`, between 0 and a day.

    Returns None if the header is missing or cannot be read.
    """
    header = (header or "").strip()
    if not header or len(header) > 64:
        return None
    if header.isascii() and header.isdigit():
        return min(float(header), MAX_WAIT)
    try:
        at = parsedate_to_datetime(header)
        wait = (at if at.tzinfo else at.replace(tzinfo=UTC)) - now
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return min(max(wait.total_seconds(), 0.0), MAX_WAIT)


def _depth(body: bytes) -> int:
    """Return the deepest nesting of brackets outside strings."""
    max_depth = level = 0
    for run in _BRACKETS.findall(_STRINGS.sub(b"", body)):
        for bracket in run:
            level += 1 if bracket in b"[{" else -1
            max_depth = max(max_depth, level)
    return max_depth


def _transcoded(body: bytes | bytearray, codec: str) -> bytes | bytearray:
    try:
        return body.decode(codec).encode()
    except UnicodeError:
        return body


def _is_utf8(body: bytes | bytearray) -> bool:
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


def _place(value: Any) -> str:
    if isinstance(value, list):
        return ".".join(str(part) for part in value[:MAX_PARTS] if isinstance(part, str | int))
    return value if isinstance(value, str) else ""


def _no_number(_: str) -> None:
    return None


_DECODER = json.JSONDecoder(strict=False, parse_constant=_no_number)
