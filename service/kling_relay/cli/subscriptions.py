"""`subscriptions`: create, change, test, pause, replay and delete them."""

from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from kling_relay.cli.connection import calls_service
from kling_relay.cli.default_list import ListingGroup
from kling_relay.cli.output import Output, local_time
from kling_relay.cli.time_arguments import Length, Moment
from kling_relay.core.event import BodyFormat
from kling_relay.core.subscription import Ordering

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import timedelta

    from kling_relay.client import Relay, Subscription

_ID = click.argument("subscription")


@click.group(cls=ListingGroup)
def subscriptions() -> None:
    """Manage subscriptions: addresses that receive events."""


def _subscription_options(command: "Callable[..., Any]") -> "Callable[..., Any]":
    """Add the options that describe a subscription to a command."""
    forms = click.Choice([form.value for form in BodyFormat])
    orderings = click.Choice([ordering.value for ordering in Ordering])
    for option in (
        click.option("--in-flight", "max_in_flight", type=int, help="Deliveries at a time."),
        click.option("--ordering", type=orderings, help="task: the events of one task in order, one at a time."),
        click.option("--format", type=forms, help="The format of the body."),
        click.option(
            "--header", "headers", multiple=True, metavar="NAME=VALUE", help="Send this header too. Repeatable."
        ),
        click.option("--description", help="A note for people."),
        click.option(
            "--event",
            "events",
            multiple=True,
            help="A type of event: task.succeed, task.*, * … Repeatable.  [default: *]",
        ),
    ):
        command = option(command)
    return command


@subscriptions.command("list")
@click.option("--limit", "-n", type=int, help="At most this many.  [default: all]")
@calls_service
async def list_(relay: "Relay", output: Output, *, limit: int | None) -> None:
    """List subscriptions, newest first."""
    listing = [subscription async for subscription in relay.subscriptions(limit=limit)]
    if output.as_json:
        output.document(listing)
        return
    rows = [
        (
            subscription.id,
            subscription.status,
            subscription.url,
            subscription.events,
            subscription.format,
            subscription.description,
        )
        for subscription in listing
    ]
    empty = "No subscriptions. Create one with `kling-relay subscriptions create ADDRESS`."
    output.table(("subscription", "status", "address", "events", "format", "description"), rows, empty)


@subscriptions.command()
@click.argument("address")
@_subscription_options
@calls_service
async def create(relay: "Relay", output: Output, *, address: str, headers: tuple[str, ...], **options: Any) -> None:
    """Subscribe ADDRESS to events. Prints the secret, which is never shown again."""
    _show(output, await relay.subscribe(address, headers=_headers(headers), **_set_options(options)))


@subscriptions.command()
@_ID
@calls_service
async def show(relay: "Relay", output: Output, *, subscription: str) -> None:
    """Show one subscription."""
    _show(output, await relay.subscription(subscription))


@subscriptions.command()
@_ID
@click.option("--address", metavar="URL", help="A new address. With another host or port, give the headers again.")
@click.option("--no-headers", is_flag=True, help="Drop the headers.")
@_subscription_options
@calls_service
async def change(
    relay: "Relay",
    output: Output,
    *,
    subscription: str,
    headers: tuple[str, ...],
    no_headers: bool,
    address: str | None,
    **options: Any,
) -> None:
    """Change the given properties of a subscription."""
    if no_headers and headers:
        raise click.UsageError("--no-headers excludes --header.")
    new_headers = {} if no_headers else _headers(headers)
    changes = _set_options(options)
    _show(output, await relay.change_subscription(subscription, url=address, headers=new_headers, **changes))


@subscriptions.command()
@_ID
@calls_service
async def delete(relay: "Relay", output: Output, *, subscription: str) -> None:
    """Delete a subscription with its pending deliveries."""
    await relay.unsubscribe(subscription)
    output.note(f"{subscription} deleted.")


@subscriptions.command()
@_ID
@calls_service
async def test(relay: "Relay", output: Output, *, subscription: str) -> None:
    """Deliver a test event. Prints the delivery's id."""
    delivery = await relay.test_subscription(subscription)
    if output.as_json:
        output.document(delivery)
    else:
        click.echo(delivery["delivery"])
        output.note(f"`kling-relay deliveries show {delivery['delivery']}` shows its attempts.")


@subscriptions.command()
@_ID
@calls_service
async def pause(relay: "Relay", output: Output, *, subscription: str) -> None:
    """Pause a subscription. Its deliveries wait, for RELAY_RETENTION at most."""
    _show(output, await relay.pause(subscription))


@subscriptions.command()
@_ID
@calls_service
async def resume(relay: "Relay", output: Output, *, subscription: str) -> None:
    """Resume a subscription that was paused or disabled."""
    _show(output, await relay.resume(subscription))


@subscriptions.command()
@_ID
@click.option("--overlap", type=Length(), help="How long the old secret stays valid.  [default: 1d]")
@calls_service
async def rotate(relay: "Relay", output: Output, *, subscription: str, overlap: "timedelta | None") -> None:
    """Replace the secret, and print the new one."""
    seconds = None if overlap is None else int(overlap.total_seconds())
    _secret(output, await relay.rotate_secret(subscription, overlap_seconds=seconds))


@subscriptions.command()
@_ID
@click.option("--since", type=Moment(), required=True, help="Events since: 2h, 7d, or a time.")
@click.option("--until", type=Moment(), help="Events until.  [default: now]")
@click.option("--all", "everything", is_flag=True, help="Also events that were delivered, not only failed ones.")
@calls_service
async def replay(
    relay: "Relay",
    output: Output,
    *,
    subscription: str,
    since: datetime,
    until: datetime | None,
    everything: bool,
) -> None:
    """Deliver the events of a period again."""
    count = await relay.replay(subscription, since=since, until=until, only="all" if everything else "failed")
    if output.as_json:
        output.document({"count": count})
    else:
        click.echo(f"{count} deliveries scheduled.")


@subscriptions.command("hook-secret")
@calls_service
async def hook_secret(relay: "Relay", output: Output) -> None:
    """Print the secret that signs deliveries to the notify_hook of orders."""
    _secret(output, await relay.hook_secret())


def _show(output: Output, subscription: "Subscription") -> None:
    if output.as_json:
        output.document(subscription)
        return
    output.facts(
        {
            "id": subscription.id,
            "status": subscription.status,
            "disabled because": subscription.disabled_reason,
            "failing since": local_time(subscription.failing_since),
            "expired deliveries": subscription.expired_deliveries or None,
            "url": subscription.url,
            "events": subscription.events,
            "format": subscription.format,
            "ordering": subscription.ordering,
            "in flight": subscription.max_in_flight,
            "headers": dict(subscription.headers),
            "description": subscription.description,
            "hook": "yes" if subscription.is_hook else None,
            "old secrets until": local_time(subscription.old_secrets_until),
            "created": local_time(subscription.created_at),
            "secret": subscription.secret,
        }
    )


def _secret(output: Output, secret: str) -> None:
    if output.as_json:
        output.document({"secret": secret})
    else:
        click.echo(secret)


def _headers(pairs: tuple[str, ...]) -> dict[str, str] | None:
    invalid_pairs = [pair for pair in pairs if "=" not in pair]
    if invalid_pairs:
        raise click.BadParameter(f"{invalid_pairs[0]!r} is not NAME=VALUE.", param_hint="--header")
    return dict(pair.split("=", 1) for pair in pairs) or None


def _set_options(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options that were set, with lists for the repeatable ones."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in options.items() if value}
