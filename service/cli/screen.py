"""What commands print: tables and lines for people, JSON for programs; colours only where a terminal shows them.

Answers go to standard output, everything else (progress, hints, errors) to standard error.
"""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console

COLOURS: Mapping[str, str] = {
    "submitted": "cyan",
    "processing": "yellow",
    "succeed": "green",
    "failed": "red",
    "active": "green",
    "paused": "yellow",
    "disabled": "red",
    "pending": "yellow",
    "delivered": "green",
    "exhausted": "red",
}
_WIDE = 10_000
"""Columns of what is no terminal: nothing is cut off there."""


@dataclass(frozen=True, slots=True)
class Screen:
    """Where a command prints, and whether as JSON."""

    as_json: bool = False

    @property
    def is_live(self) -> bool:
        """Whether somebody watches who can be shown progress."""
        return sys.stderr.isatty() and not self.as_json

    def document(self, content: Any) -> None:
        """Print one JSON document."""
        click.echo(json.dumps(plain(content), ensure_ascii=False, indent=2))

    def line(self, content: Any) -> None:
        """Print one JSON document on one line, for what comes one by one."""
        click.echo(json.dumps(plain(content), ensure_ascii=False, separators=(",", ":")))

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[object]], empty: str) -> None:
        """Print a table, or the sentence `empty` (to standard error) where there are no rows."""
        from rich.table import Table  # noqa: PLC0415 - 80 ms, only where something is drawn

        table = Table(box=None, header_style="bold", pad_edge=False)
        for column in columns:
            table.add_column(column, overflow="fold", no_wrap=not sys.stdout.isatty())
        for row in rows:
            table.add_row(*[painted(cell) for cell in row])
        if table.row_count:
            console().print(table)
        else:
            self.say(empty)

    def facts(self, members: Mapping[str, object]) -> None:
        """Print names and values below one another, those that say nothing left out."""
        width = max((len(name) for name in members), default=0) + 2
        for name, value in members.items():
            if value not in (None, "", (), [], {}):
                click.echo(f"{name:<{width}}{_text(value)}")

    def say(self, sentence: str) -> None:
        """Print a sentence beside the answer, to standard error."""
        click.echo(sentence, err=True)


def console() -> "Console":
    """Return rich's console on standard output as it is now."""
    from rich.console import Console  # noqa: PLC0415 - as above

    return Console(width=None if sys.stdout.isatty() else _WIDE, highlight=False, soft_wrap=not sys.stdout.isatty())


def painted(cell: object) -> Any:
    """Return a cell as text, words of state in their colour."""
    from rich.text import Text  # noqa: PLC0415 - as above

    text = _text(cell)
    return Text(text, style=COLOURS.get(text, ""))


def coloured(word: str, width: int = 0) -> str:
    """Return a word of state in its colour for `click.echo`, which takes colours away where nobody sees them."""
    return click.style(f"{word:<{width}}", fg=COLOURS.get(word))


def plain(content: Any) -> Any:
    """Return `content` as what JSON can hold."""
    if is_dataclass(content) and not isinstance(content, type):
        return asdict(content)
    if isinstance(content, list | tuple):
        return [plain(each) for each in content]
    return content


def moment(at: int | str | None) -> str:
    """Return a time of the API (milliseconds, or RFC 3339) in the local time zone, to the second."""
    if at is None or at == "":
        return ""
    found = datetime.fromtimestamp(at / 1000, UTC) if isinstance(at, int) else datetime.fromisoformat(at)
    return found.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _text(value: object) -> str:
    match value:
        case None:
            return ""
        case list() | tuple():
            return ", ".join(map(str, value))
        case dict():
            return json.dumps(value, ensure_ascii=False)
        case _:
            return str(value)
