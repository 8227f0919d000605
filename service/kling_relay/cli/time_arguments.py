"""Times on the command line: `2h` or `7d` ago, or a date or time in ISO 8601."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import click
from typing_extensions import override

_LENGTH = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|h|d|w)")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def now() -> datetime:
    """Return the present, in UTC. A client alone has no `app.clock`, which needs the server's packages."""
    return datetime.now(UTC)


class Moment(click.ParamType[datetime]):
    """An aware time. A length such as `2h` lies in the past, or in the future with `ahead`."""

    name = "when"

    def __init__(self, *, ahead: bool = False) -> None:
        self.ahead = ahead

    @override
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        if isinstance(value, datetime):
            return value
        if length := length_of(value):
            return now() + length if self.ahead else now() - length
        try:
            time = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is neither a length (30m, 2h, 7d) nor a time (2026-11-22, 2026-11-22T10:00Z).")
        return time.astimezone(UTC)


class Length(click.ParamType[timedelta]):
    """A length of time: 30s, 2m, 6h, 90d. A number alone is seconds."""

    name = "length"

    @override
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        if isinstance(value, timedelta):
            return value
        length = length_of(value if not str(value).replace(".", "", 1).isdigit() else f"{value}s")
        if length is None:
            self.fail(f"{value!r} is not a length of time. Examples: 30s, 2m, 6h, 90d.")
        return length


def length_of(text: str) -> timedelta | None:
    """Return the length of time in a text, or None if it contains none."""
    match = _LENGTH.fullmatch(text.strip().lower())
    return timedelta(**{_UNITS[match[2]]: float(match[1])}) if match else None
