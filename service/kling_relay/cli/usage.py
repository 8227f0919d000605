"""`usage` and `prices`: what was ordered and charged, and the price list."""

from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING

import click

from kling_relay.cli.connection import calls_service
from kling_relay.cli.output import Output
from kling_relay.cli.time_arguments import Moment
from kling_relay.core.money import format_amount

if TYPE_CHECKING:
    from kling_relay.client import Relay, Usage
    from kling_relay.client.models import UsageLine

GROUPS = ("day", "month", "kind", "model", "mode", "key", "client", "currency")
_BAR = 24
"""Length of the longest bar, in characters."""


@click.command()
@click.option("--since", type=Moment(), help="Tasks ordered since: 7d, 2026-11-01 …  [default: 30d]")
@click.option("--until", type=Moment(), help="Tasks ordered until.  [default: now]")
@click.option(
    "--by",
    multiple=True,
    type=click.Choice(GROUPS),
    default=("day",),
    show_default=True,
    help="Group by this. Repeatable.",
)
@calls_service
async def usage(
    relay: "Relay", output: Output, *, since: datetime | None, until: datetime | None, by: tuple[str, ...]
) -> None:
    """Show what was ordered and charged."""
    usage = await relay.usage(since=since, until=until, by=by)
    if output.as_json:
        output.document(usage)
    else:
        draw(output, usage, by)


@click.command()
@calls_service
async def prices(relay: "Relay", output: Output) -> None:
    """Print the current price list, as JSON."""
    output.document(await relay.prices())


def draw(output: Output, usage: "Usage", by: tuple[str, ...]) -> None:
    """Print a line with a bar for each group, and the sum of each currency."""
    rows, sums = [], []
    for currency in dict.fromkeys(line.currency for line in usage.data):
        lines = [line for line in usage.data if line.currency == currency]
        most = max(Decimal(line.charged) for line in lines)
        rows += [
            [
                *(line.by.get(group) or "-" for group in by),
                *_figures(line),
                currency,
                _bar(Decimal(line.charged), most),
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
    output.table(names, rows, "Nothing was ordered in this period.")


_FIGURES = ("tasks", "succeeded", "failed", "reserved", "charged")


def _figures(line: "UsageLine") -> list[str]:
    return [str(getattr(line, name)) for name in _FIGURES]


def _sums(lines: "list[UsageLine]") -> list[str]:
    return [format_amount(sum((Decimal(getattr(line, name)) for line in lines), Decimal(0))) for name in _FIGURES]


def _bar(charged: Decimal, most: Decimal) -> str:
    """Return a bar, exact to an eighth of a character. Any charge above zero is visible."""
    if charged <= 0 or most <= 0:
        return ""
    eighths = max(int(8 * _BAR * charged / most), 1)
    return "█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip()
