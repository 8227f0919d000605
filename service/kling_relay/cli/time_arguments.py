"""Times as people write them: `2h` or `7d` ago, or a date or time of ISO 8601."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import click
from typing_extensions import override

_AGO = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|h|d|w)")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


class Moment(click.ParamType[datetime]):
    """An aware time; with `ahead` a length lies in the future, otherwise in the past."""

    name = "when"

    def __init__(self, *, ahead: bool = False) -> None:
        self.ahead = ahead

    @override
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        if isinstance(value, datetime):
            return value
        if length := length_of(value):
            from kling_relay.app import clock  # noqa: PLC0415 - brings the whole service along

            return clock.now() + length if self.ahead else clock.now() - length
        try:
            found = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is neither a length (30m, 2h, 7d) nor a time (2026-11-22, 2026-11-22T10:00Z).")
        return found.astimezone(UTC)


class Length(click.ParamType[timedelta]):
    """A length of time: 500ms has no use here, 30s, 2m, 6h, 90d have."""

    name = "length"

    @override
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        if isinstance(value, timedelta):
            return value
        found = length_of(value if not str(value).replace(".", "", 1).isdigit() else f"{value}s")
        if found is None:
            self.fail(f"{value!r} is no length of time: write 30s, 2m, 6h or 90d.")
        return found


def length_of(text: str) -> timedelta | None:
    """Return the length that a text names, or None where it names none."""
    match = _AGO.fullmatch(text.strip().lower())
    return timedelta(**{_UNITS[match[2]]: float(match[1])}) if match else None
