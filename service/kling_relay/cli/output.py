"""What commands print: tables and lines for people, JSON for programs, colours only on a terminal.

Answers go to standard output. Progress, notes and errors go to standard error.
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
class Output:
    """What a command prints, as text or as JSON."""

    as_json: bool = False

    @property
    def is_live(self) -> bool:
        """Whether progress can be drawn: standard error is a terminal, and JSON was not asked for."""
        return sys.stderr.isatty() and not self.as_json

    def document(self, content: Any) -> None:
        """Print one JSON document."""
        click.echo(json.dumps(plain(content), ensure_ascii=not _is_unicode(), indent=2))

    def line(self, content: Any) -> None:
        """Print one JSON document on one line, for items that come one by one."""
        click.echo(json.dumps(plain(content), ensure_ascii=not _is_unicode(), separators=(",", ":")))

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[object]], empty: str) -> None:
        """Print a table, or the sentence `empty` (to standard error) if there are no rows.

        Empty columns are left out. No cell is cut or folded, so that an id can be copied at any width.
        """
        lines = [[_text(cell) for cell in row] for row in rows]
        if not lines:
            self.note(empty)
            return
        used = [place for place in range(len(columns)) if any(line[place] for line in lines)]
        widths = {place: max(_width(line[place]) for line in [columns, *lines]) for place in used}
        click.echo(_row([click.style(columns[place].upper(), bold=True) for place in used], list(widths.values())))
        for line in lines:
            cells = [click.style(line[place], fg=COLOURS.get(line[place])) for place in used]
            click.echo(_row(cells, list(widths.values())))

    def facts(self, members: Mapping[str, object]) -> None:
        """Print names and values, one pair per line. Empty values are left out."""
        width = max((len(name) for name in members), default=0) + 2
        for name, value in members.items():
            if value not in (None, "", (), [], {}):
                text = _text(value)
                click.echo(f"{name:<{width}}{click.style(text, fg=COLOURS.get(text))}")

    def note(self, sentence: str) -> None:
        """Print a sentence to standard error, apart from the answer."""
        click.echo(sentence, err=True)


def can_print(text: str) -> bool:
    """Return whether standard output has these characters in its encoding."""
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _is_unicode() -> bool:
    """Return whether standard output has every character; elsewhere JSON is written in ASCII and loses none."""
    return (sys.stdout.encoding or "utf-8").lower().replace("-", "").startswith("utf")


def coloured(word: str, width: int = 0) -> str:
    """Return a status in its colour. `click.echo` removes colours if the output is not a terminal."""
    return click.style(f"{safe(word):<{width}}", fg=COLOURS.get(word))


def safe(text: str) -> str:
    """Return a text from outside without control characters, which could change the terminal."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def plain(content: Any) -> Any:
    """Return `content` with dataclasses as dicts, ready for JSON."""
    if is_dataclass(content) and not isinstance(content, type):
        return asdict(content)
    if isinstance(content, list | tuple):
        return [plain(item) for item in content]
    return content


def local_time(at: int | str | None) -> str:
    """Return a time of the API (milliseconds, or RFC 3339) in the local time zone, to the second."""
    if at is None or at == "":
        return ""
    time = datetime.fromtimestamp(at / 1000, UTC) if isinstance(at, int) else datetime.fromisoformat(at)
    return time.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _row(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = [cell + " " * (width - _width(cell)) for cell, width in zip(cells, widths, strict=True)]
    return "  ".join(padded).rstrip()


def _width(text: str) -> int:
    """Return how many columns a text takes on a terminal: two for a Chinese character, none for colours."""
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
