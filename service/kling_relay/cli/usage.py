"""`usage` and `prices`: what was ordered and charged, drawn; and what things cost."""

from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING

import click

from kling_relay.cli.connection import calls_service
from kling_relay.cli.output import Screen
from kling_relay.cli.time_arguments import Moment
from kling_relay.core.money import plain

if TYPE_CHECKING:
    from kling_relay.client import Relay, Usage
    from kling_relay.client.models import UsageLine

GROUPS = ("day", "month", "kind", "model", "mode", "key", "client", "currency")
_BAR = 24
"""Characters of the longest bar."""


@click.command()
@click.option("--since", type=Moment(), help="Since: 7d, 2026-11-01 …  [default: 30 days ago]")
@click.option("--until", type=Moment(), help="Until.  [default: now]")
@click.option("--by", multiple=True, type=click.Choice(GROUPS), default=("day",), show_default=True, help="Groups.")
@calls_service
async def usage(
    relay: "Relay", screen: Screen, *, since: datetime | None, until: datetime | None, by: tuple[str, ...]
) -> None:
    """Show what was ordered and charged."""
    found = await relay.usage(since=since, until=until, by=by)
    if screen.as_json:
        screen.document(found)
    else:
        draw(screen, found, by)


@click.command()
@calls_service
async def prices(relay: "Relay", screen: Screen) -> None:
    """Print the price list in force, as JSON."""
    screen.document(await relay.prices())


def draw(screen: Screen, found: "Usage", by: tuple[str, ...]) -> None:
    """Print a line for each group, with a bar for its charge, and their sum; each currency by itself."""
    rows, sums = [], []
    for currency in dict.fromkeys(line.currency for line in found.data):
        lines = [line for line in found.data if line.currency == currency]
        limit = max(Decimal(line.charged) for line in lines)
        rows += [
            [
                *(line.by.get(group) or "-" for group in by),
                *_figures(line),
                currency,
                _bar(Decimal(line.charged), limit),
            ]
            for line in lines
        ]
        if len(lines) > 1:
            sums.append(["sum", *[""] * (len(by) - 1), *_sums(lines), currency, ""])
    rows += sums
    names = [*by, *_FIGURES, "", ""]
    for place in range(len(by), len(by) + len(_FIGURES)):
        width = max((len(row[place]) for row in rows), default=0)
        names[place] = names[place].rjust(width)
        for row in rows:
            row[place] = row[place].rjust(max(width, len(names[place])))
    screen.table(names, rows, "Nothing was ordered in this time.")


_FIGURES = ("tasks", "succeeded", "failed", "reserved", "charged")


def _figures(line: "UsageLine") -> list[str]:
    return [str(getattr(line, name)) for name in _FIGURES]


def _sums(lines: "list[UsageLine]") -> list[str]:
    return [plain(sum((Decimal(getattr(line, name)) for line in lines), Decimal(0))) for name in _FIGURES]


def _bar(charged: Decimal, limit: Decimal) -> str:
    """Return a bar to an eighth of a character; whatever is charged at all can be seen."""
    if charged <= 0 or limit <= 0:
        return ""
    eighths = max(int(8 * _BAR * charged / limit), 1)
    return "█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip()
