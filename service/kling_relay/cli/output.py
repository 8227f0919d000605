"""What commands print: tables and lines for people, JSON for programs; colours only where a terminal shows them.

Answers go to standard output, everything else (progress, hints, errors) to standard error.
"""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from datetime import UTC, datetime
from typing import Any
from unicodedata import east_asian_width

import click

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
        """Print a table, or the sentence `empty` (to standard error) where there are no rows.

        Columns that say nothing are left out. Nothing is cut or folded, so that an id can be copied at any width.
        """
        lines = [[_text(cell) for cell in row] for row in rows]
        if not lines:
            self.say(empty)
            return
        shown = [place for place in range(len(columns)) if any(line[place] for line in lines)]
        widths = {place: max(_width(line[place]) for line in [columns, *lines]) for place in shown}
        click.echo(_row([click.style(columns[place].upper(), bold=True) for place in shown], list(widths.values())))
        for line in lines:
            cells = [click.style(line[place], fg=COLOURS.get(line[place])) for place in shown]
            click.echo(_row(cells, list(widths.values())))

    def facts(self, members: Mapping[str, object]) -> None:
        """Print names and values below one another, those that say nothing left out."""
        width = max((len(name) for name in members), default=0) + 2
        for name, value in members.items():
            if value not in (None, "", (), [], {}):
                text = _text(value)
                click.echo(f"{name:<{width}}{click.style(text, fg=COLOURS.get(text))}")

    def say(self, sentence: str) -> None:
        """Print a sentence beside the answer, to standard error."""
        click.echo(sentence, err=True)


def coloured(word: str, width: int = 0) -> str:
    """Return a word of state in its colour for `click.echo`, which takes colours away where nobody sees them."""
    return click.style(f"{safe(word):<{width}}", fg=COLOURS.get(word))


def safe(text: str) -> str:
    """Return somebody else's text without what would move a terminal's cursor or change its colours."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


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


def _row(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = [cell + " " * (width - _width(cell)) for cell, width in zip(cells, widths, strict=True)]
    return "  ".join(padded).rstrip()


def _width(text: str) -> int:
    """Return how many columns a terminal needs for a text: two for a Chinese character, none for colours."""
    return sum(2 if east_asian_width(letter) in "WF" else 1 for letter in click.unstyle(text))


def _text(value: object) -> str:
    match value:
        case None:
            return ""
        case list() | tuple():
            return safe(", ".join(map(str, value)))
        case dict():
            return json.dumps(value, ensure_ascii=False)
        case _:
            return safe(str(value))
