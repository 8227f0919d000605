"""`subscriptions`: who is told what, by which address; made, changed, tested, paused, rotated, replayed."""

from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from kling_relay.cli.connection import calls_service
from kling_relay.cli.listing import ListingGroup
from kling_relay.cli.output import Screen, moment
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
    """Addresses that are told of events: list, create, test …"""


def _wishes(command: "Callable[..., Any]") -> "Callable[..., Any]":
    """Give a command the options of what a subscription may say."""
    forms = click.Choice([form.value for form in BodyFormat])
    orderings = click.Choice([ordering.value for ordering in Ordering])
    for option in (
        click.option("--in-flight", "max_in_flight", type=int, help="Attempts at once."),
        click.option("--ordering", type=orderings, help="task: steps of a task in their order, one at a time."),
        click.option("--format", type=forms, help="How bodies are written."),
        click.option("--header", "headers", multiple=True, metavar="NAME=VALUE", help="Sent along; several."),
        click.option("--description", help="For people."),
        click.option("--event", "events", multiple=True, help="task.succeed, task.*, * …; several.  [default: *]"),
    ):
        command = option(command)
    return command


@subscriptions.command("list")
@click.option("--limit", "-n", type=int, help="How many.  [default: all]")
@calls_service
async def list_(relay: "Relay", screen: Screen, *, limit: int | None) -> None:
    """List subscriptions, newest first."""
    found = [each async for each in relay.subscriptions(limit=limit)]
    if screen.as_json:
        screen.document(found)
        return
    rows = [(each.id, each.status, each.url, each.events, each.format, each.description) for each in found]
    empty = "No subscriptions. `kling-relay subscriptions create ADDRESS` makes one."
    screen.table(("subscription", "status", "address", "events", "format", "description"), rows, empty)


@subscriptions.command()
@click.argument("address")
@_wishes
@calls_service
async def create(relay: "Relay", screen: Screen, *, address: str, headers: tuple[str, ...], **wishes: Any) -> None:
    """Subscribe ADDRESS to events; prints the secret, this once."""
    _show(screen, await relay.subscribe(address, headers=_headers(headers), **_given(wishes)))


@subscriptions.command()
@_ID
@calls_service
async def show(relay: "Relay", screen: Screen, *, subscription: str) -> None:
    """Show one subscription."""
    _show(screen, await relay.subscription(subscription))


@subscriptions.command()
@_ID
@click.option("--address", metavar="URL", help="Another address.")
@_wishes
@calls_service
async def change(
    relay: "Relay", screen: Screen, *, subscription: str, headers: tuple[str, ...], address: str | None, **wishes: Any
) -> None:
    """Change what is given, and leave the rest."""
    changed = await relay.change_subscription(subscription, url=address, headers=_headers(headers), **_given(wishes))
    _show(screen, changed)


@subscriptions.command()
@_ID
@calls_service
async def delete(relay: "Relay", screen: Screen, *, subscription: str) -> None:
    """Delete a subscription and its pending deliveries."""
    await relay.unsubscribe(subscription)
    screen.say(f"{subscription} is deleted.")


@subscriptions.command()
@_ID
@calls_service
async def test(relay: "Relay", screen: Screen, *, subscription: str) -> None:
    """Have a test event delivered; prints the delivery's id."""
    made = await relay.test_subscription(subscription)
    if screen.as_json:
        screen.document(made)
    else:
        click.echo(made["delivery"])
        screen.say("`kling-relay deliveries show` with this id tells what came of it.")


@subscriptions.command()
@_ID
@calls_service
async def pause(relay: "Relay", screen: Screen, *, subscription: str) -> None:
    """Let deliveries gather."""
    _show(screen, await relay.pause(subscription))


@subscriptions.command()
@_ID
@calls_service
async def resume(relay: "Relay", screen: Screen, *, subscription: str) -> None:
    """Deliver again, also after it was disabled."""
    _show(screen, await relay.resume(subscription))


@subscriptions.command()
@_ID
@click.option("--overlap", type=Length(), help="How long the old secret signs too.  [default: 1d]")
@calls_service
async def rotate(relay: "Relay", screen: Screen, *, subscription: str, overlap: "timedelta | None") -> None:
    """Make a new secret, and print it alone."""
    seconds = None if overlap is None else int(overlap.total_seconds())
    _secret(screen, await relay.rotate_secret(subscription, overlap_seconds=seconds))


@subscriptions.command()
@_ID
@click.option("--since", type=Moment(), required=True, help="Told since: 2h, 7d, or a time.")
@click.option("--until", type=Moment(), help="Told until.  [default: now]")
@click.option("--all", "everything", is_flag=True, help="What was delivered too, not only what failed.")
@calls_service
async def replay(
    relay: "Relay",
    screen: Screen,
    *,
    subscription: str,
    since: datetime,
    until: datetime | None,
    everything: bool,
) -> None:
    """Deliver again what was told in a time."""
    count = await relay.replay(subscription, since=since, until=until, only="all" if everything else "failed")
    if screen.as_json:
        screen.document({"count": count})
    else:
        click.echo(f"{count} to be delivered again.")


@subscriptions.command("hook-secret")
@calls_service
async def hook_secret(relay: "Relay", screen: Screen) -> None:
    """Print the secret that signs what goes to the notify_hook of orders."""
    _secret(screen, await relay.hook_secret())


def _show(screen: Screen, found: "Subscription") -> None:
    if screen.as_json:
        screen.document(found)
        return
    screen.facts(
        {
            "id": found.id,
            "status": found.status,
            "disabled because": found.disabled_reason,
            "failing since": moment(found.failing_since),
            "url": found.url,
            "events": found.events,
            "format": found.format,
            "ordering": found.ordering,
            "in flight": found.max_in_flight,
            "headers": dict(found.headers),
            "description": found.description,
            "hook": "yes" if found.is_hook else None,
            "old secrets until": moment(found.old_secrets_until),
            "made": moment(found.created_at),
            "secret": found.secret,
        }
    )


def _secret(screen: Screen, secret: str) -> None:
    if screen.as_json:
        screen.document({"secret": secret})
    else:
        click.echo(secret)


def _headers(pairs: tuple[str, ...]) -> dict[str, str] | None:
    wrong = [pair for pair in pairs if "=" not in pair]
    if wrong:
        raise click.BadParameter(f"{wrong[0]!r} is not NAME=VALUE.", param_hint="--header")
    return dict(pair.split("=", 1) for pair in pairs) or None


def _given(wishes: dict[str, Any]) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in wishes.items() if value}
