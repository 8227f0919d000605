"""`events` and `listen`: the log in the terminal, and carried to a program that has no public address."""

import secrets
from contextlib import aclosing
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

import click

from kling_relay.cli.connection import calls_service
from kling_relay.cli.output import Screen, coloured, moment, safe
from kling_relay.core.event import CONTENT_TYPE, BodyFormat, Event, render, to_json_bytes
from kling_relay.core.signature import new_secret, sign, timestamp

if TYPE_CHECKING:
    import aiohttp

    from kling_relay.client import Event as Told
    from kling_relay.client import Relay

_TYPES = "Only these, as in task.succeed or task.*; may be given several times."
_FORMATS = click.Choice([each.value for each in BodyFormat])
_PATIENCE = 30
"""Seconds that the program listened for may take to answer."""


@click.command()
@click.option("--follow", "-f", is_flag=True, help="Go on with what comes, until Ctrl-C.")
@click.option("--after", metavar="CURSOR", help="Begin behind this one.  [default: the beginning; with -f: now]")
@click.option("--type", "types", multiple=True, help=_TYPES)
@click.option("--task", help="Only of this task.")
@click.option("--limit", "-n", type=int, help="How many, without -f.  [default: all]")
@calls_service
async def events(
    relay: "Relay",
    screen: Screen,
    *,
    follow: bool,
    after: str | None,
    types: tuple[str, ...],
    task: str | None,
    limit: int | None,
) -> None:
    """Print the log of events, oldest first.

    With -f everything that happens from now on.
    """
    found = (
        relay.stream(after=after, type=types, task=task)
        if follow
        else relay.events(after=after or "0", type=types, task=task, limit=limit)
    )
    if follow:
        screen.say("Waiting for events. Ctrl-C ends it.")
    async for event in found:
        if screen.as_json:
            screen.line(event)
        else:
            click.echo(_line(event))


@click.command()
@click.option("--forward-to", required=True, metavar="URL", help="Where to POST each event.")
@click.option("--after", metavar="CURSOR", help="Begin behind this event.  [default: now]")
@click.option("--type", "types", multiple=True, help=_TYPES)
@click.option("--task", help="Only of this task.")
@click.option("--format", "form", type=_FORMATS, default="standard", show_default=True)
@click.option("--secret", metavar="whsec_…", help="Sign with this one.  [default: a new one, which is printed]")
@calls_service
async def listen(
    relay: "Relay",
    screen: Screen,
    *,
    forward_to: str,
    after: str | None,
    types: tuple[str, ...],
    task: str | None,
    form: str,
    secret: str | None,
) -> None:
    """Forward events to a program on this machine, signed.

    It follows the stream, so the service needs no way to this machine. One event at a time, once each; what was not
    taken is told, and can be had again with --after.
    """
    import aiohttp  # noqa: PLC0415 - a quarter of a second

    secret = secret or new_secret(secrets.token_bytes(32))
    sign([secret], "", _present(), b"")  # a secret that is none is told now, not at the first event
    screen.say(f"Forwarding to {forward_to}, signed with the secret below. Ctrl-C ends it.")
    click.echo(secret)
    limits = aiohttp.ClientTimeout(total=_PATIENCE)
    async with (
        aiohttp.ClientSession(timeout=limits) as session,
        aclosing(relay.stream(after=after, type=types, task=task)) as stream,
    ):
        async for event in stream:
            outcome = await _forward(session, forward_to, event, BodyFormat(form), secret, relay.url)
            if screen.as_json:
                screen.line({"id": event.id, "cursor": event.cursor, "type": event.type, "outcome": outcome})
            else:
                click.echo(f"{_line(event)}  ->  {outcome}")


async def _forward(
    session: "aiohttp.ClientSession", url: str, told: "Told", form: BodyFormat, secret: str, source: str
) -> str:
    """POST one event as a delivery would be, and return what came of it in a word or two."""
    import aiohttp  # noqa: PLC0415 - imported by now

    _, subject, sequence = told.id.split("_")
    now = _present()
    event = Event(
        subject=UUID(subject),
        sequence=int(sequence),
        client=UUID(int=0),
        type=told.type,
        at=datetime.fromisoformat(told.timestamp),
        body=to_json_bytes({"type": told.type, "timestamp": told.timestamp, "data": told.data}),
    )
    body = render(event, form, source)
    headers = {
        "Content-Type": CONTENT_TYPE[form],
        "webhook-id": told.id,
        "webhook-timestamp": timestamp(now),
        "webhook-signature": sign([secret], told.id, now, body),
    }
    try:
        async with session.post(url, data=body, headers=headers, allow_redirects=False) as answer:
            return str(answer.status)
    except TimeoutError:
        return f"no answer within {_PATIENCE} s"
    except (aiohttp.ClientError, OSError) as error:
        return f"not taken: {error}"


def _present() -> datetime:
    from kling_relay.app import clock  # noqa: PLC0415 - brings the whole service along

    return clock.now()


def _line(event: "Told") -> str:
    status = str(event.data.get("task_status", ""))
    what = f"{event.data.get('kind', ''):<12}{coloured(status, 11)}" if status else f"{event.type:<23}"
    subject = event.data.get("task_id") or event.id.split("_")[1]
    return f"{moment(event.timestamp)}  {subject}  {what}{safe(str(event.data.get('task_status_msg') or ''))}".rstrip()
