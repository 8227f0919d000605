"""`deliveries`: list them, show their attempts, and retry them."""

from typing import TYPE_CHECKING

import click

from kling_relay.cli.connection import calls_service
from kling_relay.cli.default_list import ListingGroup
from kling_relay.cli.output import Output, coloured, local_time

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from kling_relay.client import Delivery, Relay

STATUSES = click.Choice(["pending", "delivered", "exhausted"])


@click.group(cls=ListingGroup)
def deliveries() -> None:
    """Manage deliveries: events on their way to subscriptions."""


def _filters(command: "Callable[..., Any]") -> "Callable[..., Any]":
    for option in (
        click.option("--task", help="Only deliveries of this task."),
        click.option("--event", help="Only deliveries of this event (a webhook-id)."),
        click.option("--status", type=STATUSES, help="Only deliveries with this status."),
        click.option("--subscription", help="Only deliveries to this subscription."),
    ):
        command = option(command)
    return command


@deliveries.command("list")
@_filters
@click.option("--limit", "-n", default=20, show_default=True, help="At most this many.")
@calls_service
async def list_(relay: "Relay", output: Output, *, limit: int, **filters: str | None) -> None:
    """List deliveries, newest first."""
    deliveries = [delivery async for delivery in relay.deliveries(**filters, limit=limit)]
    if output.as_json:
        output.document(deliveries)
        return
    rows = [
        (delivery.id, delivery.type, delivery.status, delivery.attempt_count, _last(delivery), next_attempt(delivery))
        for delivery in deliveries
    ]
    output.table(("delivery", "event", "status", "attempts", "last", "next"), rows, "No deliveries match.")


@deliveries.command()
@click.argument("delivery_id", metavar="DELIVERY")
@click.option("--answers", is_flag=True, help="Also print the subscriber's answers.")
@calls_service
async def show(relay: "Relay", output: Output, *, delivery_id: str, answers: bool) -> None:
    """Show one delivery with its attempts."""
    delivery = await relay.delivery(delivery_id)
    if output.as_json:
        output.document(delivery)
        return
    output.facts(
        {
            "id": delivery.id,
            "status": delivery.status,
            "event": f"{delivery.event} {delivery.type or ''}",
            "url": delivery.url,
            "next attempt": next_attempt(delivery),
            "body": delivery.body,
        }
    )
    rows = [
        (attempt.attempt, local_time(attempt.at), f"{attempt.latency_ms:.0f} ms", attempt.status, attempt.error)
        for attempt in delivery.attempts
    ]
    click.echo()
    output.table(("attempt", "at", "took", "status", "error"), rows, "No attempts yet.")
    for attempt in delivery.attempts if answers else ():
        click.echo(f"\nAnswer to attempt {attempt.attempt}:\n{attempt.answer or ''}")


@deliveries.command()
@click.argument("delivery_ids", metavar="[DELIVERY]...", nargs=-1)
@_filters
@click.option(
    "--limit", "-n", default=100, show_default=True, help="The most deliveries to retry, if options select them."
)
@calls_service
async def retry(
    relay: "Relay", output: Output, *, delivery_ids: tuple[str, ...], limit: int, **filters: str | None
) -> None:
    """Attempt deliveries again now: the given ones, or those that the options select."""
    if bool(delivery_ids) == any(filters.values()):
        raise click.UsageError("Give either deliveries or options that select them, e.g. --status exhausted.")
    selected_ids = list(delivery_ids) or [delivery.id async for delivery in relay.deliveries(**filters, limit=limit)]
    for delivery_id in selected_ids:
        delivery = await relay.retry_delivery(delivery_id)
        if output.as_json:
            output.line(delivery)
        else:
            click.echo(f"{delivery.id} {coloured(delivery.status)}")
    if not selected_ids:
        output.note("No deliveries match.")


def _last(delivery: "Delivery") -> str:
    if delivery.last_attempt_at is None:
        return ""
    return f"{local_time(delivery.last_attempt_at)} {delivery.last_status or ''} {delivery.last_error or ''}".rstrip()


def next_attempt(delivery: "Delivery") -> str:
    """Return when a delivery is attempted next, or why it is held."""
    match delivery.held:
        case "probe":
            return f"held until the probe at {local_time(delivery.next_attempt_at)}"
        case None:
            return local_time(delivery.next_attempt_at)
        case state:
            return f"held: the subscription is {state}"
