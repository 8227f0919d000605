"""Response headers as text: lines are joined once and reused, because building them costs a tenth of a callback."""

from collections.abc import Mapping
from datetime import datetime
from email.utils import formatdate


def format_headers(headers: Mapping[str, str]) -> str:
    """Return the lines of `headers`. Raises ValueError for control characters, which could start another header."""
    if not "".join([*headers, *headers.values()]).isprintable():
        raise ValueError("a header holds a control character")
    return "".join([f"{name}: {value}\r\n" for name, value in headers.items()])


class CommonHeaders:
    """The headers that all responses of a kind share, as text; their Date is written once per second."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._lines = format_headers(headers)
        self._second = -1
        self._dated = ""

    def at(self, now: datetime) -> str:
        """Return the lines, dated `now`."""
        second = int(now.timestamp())
        if second != self._second:
            self._second = second
            self._dated = self._lines + format_headers({"Date": formatdate(second, usegmt=True)})
        return self._dated
