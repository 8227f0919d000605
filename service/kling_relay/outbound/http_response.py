"""A response, and where its head begins and ends among the bytes that arrived."""

import re
from functools import lru_cache
from typing import NamedTuple

MAX_HEAD = 32 * 1024
"""Bytes of a response's head, interim responses included."""
_STATUS_LINE = re.compile(rb"HTTP/1\.[0-9] ([1-5][0-9]{2})(?=[ \r\n])")
_END_OF_HEAD = re.compile(rb"\r?\n\r?\n")
_BODY_END = re.compile(rb"\n(?:content-length|transfer-encoding)[ \t]*:", re.IGNORECASE)


class HTTPResponse(NamedTuple):
    """A response; `body` holds its first bytes, up to the limit of the client."""

    status: int
    retry_after: str | None
    body: bytes
    is_cut_off: bool = False
    """Whether the connection ended, or the response stopped making sense, before the end of its body."""
    head: bytes = b""
    """The head as it arrived, perhaps with bytes before and after it."""

    def field(self, name: bytes) -> str | None:
        """Return the value of a field of the head, or None. `name` is in lower case."""
        _, start, end = find_head(self.head)
        value = find_field(self.head, name, start, end)
        return None if value is None else value.decode("latin-1").strip()


def find_head(data: bytes) -> "tuple[re.Match[bytes] | None, int, int | None]":
    """Return the status line of the first head that is not interim, its start, and its end if that has arrived."""
    start, line, end = 0, _STATUS_LINE.match(data), _END_OF_HEAD.search(data, 0, MAX_HEAD)
    while line is not None and end is not None and line[1].startswith(b"1") and line[1] != b"101":
        start = end.end()
        line, end = _STATUS_LINE.match(data, start), _END_OF_HEAD.search(data, start, MAX_HEAD)
    return line, start, None if end is None else end.end()


def find_field(data: bytes, name: bytes, start: int, end: int | None) -> bytes | None:
    """Return the value of a field in a head, or None. `name` is in lower case."""
    match = _pattern_of(name).search(data, start, len(data) if end is None else end)
    return None if match is None else match[1]


def ends_with_connection(data: bytes) -> bool:
    """Return whether only the end of the connection shows where the body ends: no field of the head does."""
    _, start, end = find_head(data)
    return end is not None and _BODY_END.search(data, start, end) is None


@lru_cache(maxsize=16)
def _pattern_of(name: bytes) -> "re.Pattern[bytes]":
    return re.compile(rb"\n" + re.escape(name) + rb"[ \t]*:[ \t]*([^\r\n]*)", re.IGNORECASE)
