"""`usage` and `prices`: what was ordered and charged, drawn; and what things cost."""

from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING

import click

from service.cli.connection import calls_service
from service.cli.moments import Moment
from service.cli.screen import Screen

if TYPE_CHECKING:
    from service.client import Relay, Usage

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
        _draw(screen, found, by)


@click.command()
@calls_service
async def prices(relay: "Relay", screen: Screen) -> None:
    """Print the price list in force, as JSON."""
    screen.document(await relay.prices())


def _draw(screen: Screen, found: "Usage", by: tuple[str, ...]) -> None:
    """Print a line for each group, with a bar for its charge."""
    most = max((Decimal(line.charged) for line in found.data), default=Decimal(0))
    rows = [
        (
            *[line.by.get(group) for group in by],
            line.tasks,
            line.succeeded,
            line.failed,
            line.reserved,
            f"{line.charged} {line.currency}",
            "█" * int(_BAR * Decimal(line.charged) / most) if most else "",
        )
        for line in found.data
    ]
    screen.table(
        (*by, "tasks", "succeeded", "failed", "reserved", "charged", ""), rows, "Nothing was ordered in this time."
    )
