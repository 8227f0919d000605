"""`deliveries`: what is on its way to whom, what came of each attempt, and once more."""

from typing import TYPE_CHECKING

import click

from kling_relay.cli.connection import calls_service
from kling_relay.cli.listing import ListingGroup
from kling_relay.cli.output import Screen, coloured, moment

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from kling_relay.client import Delivery, Relay

STATUSES = click.Choice(["pending", "delivered", "exhausted"])


@click.group(cls=ListingGroup)
def deliveries() -> None:
    """Events on their way to subscriptions: list, show, retry."""


def _filters(command: "Callable[..., Any]") -> "Callable[..., Any]":
    for option in (
        click.option("--task", help="Only of this task."),
        click.option("--event", help="Only of this event (a webhook-id)."),
        click.option("--status", type=STATUSES, help="Only these."),
        click.option("--subscription", help="Only to this one."),
    ):
        command = option(command)
    return command


@deliveries.command("list")
@_filters
@click.option("--limit", "-n", default=20, show_default=True, help="How many.")
@calls_service
async def list_(relay: "Relay", screen: Screen, *, limit: int, **filters: str | None) -> None:
    """List deliveries, newest first."""
    found = [each async for each in relay.deliveries(**filters, limit=limit)]
    if screen.as_json:
        screen.document(found)
        return
    rows = [(each.id, each.type, each.status, each.attempt_count, _last(each), _next(each)) for each in found]
    screen.table(("delivery", "event", "status", "attempts", "last", "next"), rows, "No such deliveries.")


@deliveries.command()
@click.argument("delivery")
@click.option("--answers", is_flag=True, help="Print what the subscriber answered, too.")
@calls_service
async def show(relay: "Relay", screen: Screen, *, delivery: str, answers: bool) -> None:
    """Show one delivery and each of its attempts."""
    found = await relay.delivery(delivery)
    if screen.as_json:
        screen.document(found)
        return
    screen.facts(
        {
            "id": found.id,
            "status": found.status,
            "event": f"{found.event} {found.type or ''}",
            "url": found.url,
            "next attempt": moment(found.next_attempt_at),
            "body": found.body,
        }
    )
    rows = [
        (each.attempt, moment(each.at), f"{each.latency_ms:.0f} ms", each.status, each.error) for each in found.attempts
    ]
    click.echo()
    screen.table(("attempt", "at", "took", "status", "error"), rows, "No attempt was made yet.")
    for each in found.attempts if answers else ():
        click.echo(f"\nAnswer to attempt {each.attempt}:\n{each.answer or ''}")


@deliveries.command()
@click.argument("delivery", nargs=-1)
@_filters
@click.option("--limit", "-n", default=100, show_default=True, help="How many, where they are found by options.")
@calls_service
async def retry(
    relay: "Relay", screen: Screen, *, delivery: tuple[str, ...], limit: int, **filters: str | None
) -> None:
    """Attempt deliveries again now: those named, or those that the options find."""
    if bool(delivery) == any(filters.values()):
        raise click.UsageError("Name deliveries, or say by options which (as in --status exhausted).")
    wanted = list(delivery) or [each.id async for each in relay.deliveries(**filters, limit=limit)]
    for name in wanted:
        found = await relay.retry_delivery(name)
        if screen.as_json:
            screen.line(found)
        else:
            click.echo(f"{found.id} {coloured(found.status)}")
    if not wanted:
        screen.say("No such deliveries.")


def _last(delivery: "Delivery") -> str:
    if delivery.last_attempt_at is None:
        return ""
    return f"{moment(delivery.last_attempt_at)} {delivery.last_status or ''} {delivery.last_error or ''}".rstrip()


def _next(delivery: "Delivery") -> str:
    return moment(delivery.next_attempt_at)
