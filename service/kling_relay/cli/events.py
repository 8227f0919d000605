"""`events` and `listen`: print the event log, and forward it to a program without a public address."""

import secrets
from collections import deque
from contextlib import aclosing
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

import click

from kling_relay.cli.address import HttpAddress
from kling_relay.cli.connection import calls_service
from kling_relay.cli.output import Output, coloured, local_time, safe
from kling_relay.cli.time_arguments import now
from kling_relay.core.event import CONTENT_TYPE, BodyFormat, Event, render, to_json_bytes
from kling_relay.core.signature import new_secret, sign, timestamp

if TYPE_CHECKING:
    import aiohttp

    from kling_relay.client import Event as LoggedEvent
    from kling_relay.client import Relay

_TYPES = "Only events of this type, e.g. task.succeed or task.*. Repeatable."
_FORMATS = click.Choice([member.value for member in BodyFormat])
_ANSWER_WITHIN = 30
"""Seconds in which the program must answer."""


@click.command()
@click.option("--follow", "-f", is_flag=True, help="Follow the log until Ctrl-C.")
@click.option("--after", metavar="CURSOR", help="Start after this event.  [default: the beginning; with -f: now]")
@click.option("--type", "types", multiple=True, help=_TYPES)
@click.option("--task", help="Only events of this task.")
@click.option(
    "--limit",
    "-n",
    type=click.IntRange(min=1),
    help="Only the newest, at most this many; with --after, the first after it. Without -f.  [default: all]",
)
@calls_service
async def events(
    relay: "Relay",
    output: Output,
    *,
    follow: bool,
    after: str | None,
    types: tuple[str, ...],
    task: str | None,
    limit: int | None,
) -> None:
    """Print the event log, oldest first, or follow it."""
    if limit is not None and follow:
        raise click.UsageError("-n is for the events that exist: it excludes -f.")
    if follow:
        output.note("Waiting for events. Press Ctrl-C to stop.")
        log = relay.stream(after=after, type=types, task=task)
    else:
        log = relay.events(after=after or "0", type=types, task=task, limit=limit if after else None)
    newest: deque[LoggedEvent] = deque(maxlen=limit)
    async with aclosing(log):
        async for event in log:
            if limit is None or after:
                _print(output, event)
            else:
                newest.append(event)
    for event in newest:
        _print(output, event)


def _print(output: Output, event: "LoggedEvent") -> None:
    if output.as_json:
        output.line(event)
    else:
        click.echo(_line(event))


@click.command()
@click.option(
    "--forward-to", required=True, type=HttpAddress(), help="Where to POST each event, e.g. localhost:3000/hook."
)
@click.option("--after", metavar="CURSOR", help="Start after this event.  [default: now]")
@click.option("--type", "types", multiple=True, help=_TYPES)
@click.option("--task", help="Only events of this task.")
@click.option("--format", "form", type=_FORMATS, default="standard", show_default=True, help="The format of the body.")
@click.option("--secret", metavar="whsec_…", help="Sign with this secret.  [default: a new one, which is printed]")
@calls_service
async def listen(
    relay: "Relay",
    output: Output,
    *,
    forward_to: str,
    after: str | None,
    types: tuple[str, ...],
    task: str | None,
    form: str,
    secret: str | None,
) -> None:
    """Forward events to a program on this machine, signed.

    It follows the event stream, so the service does not need to reach this machine. Events are sent one by one, each
    once. An event that fails is reported; use --after to send it again.
    """
    import aiohttp  # noqa: PLC0415 - a quarter of a second

    secret = secret or new_secret(secrets.token_bytes(32))
    sign([secret], "", now(), b"")  # an invalid secret fails here, not at the first event
    output.note(f"Forwarding to {forward_to}, signed with the secret below. Press Ctrl-C to stop.")
    click.echo(secret)
    limits = aiohttp.ClientTimeout(total=_ANSWER_WITHIN)
    async with (
        aiohttp.ClientSession(timeout=limits) as session,
        aclosing(relay.stream(after=after, type=types, task=task)) as stream,
    ):
        async for event in stream:
            outcome = await _forward(session, forward_to, event, BodyFormat(form), secret, relay.url)
            if output.as_json:
                output.line({"id": event.id, "cursor": event.cursor, "type": event.type, "outcome": outcome})
            else:
                click.echo(f"{_line(event)}  ->  {outcome}")


async def _forward(
    session: "aiohttp.ClientSession", url: str, logged: "LoggedEvent", form: BodyFormat, secret: str, source: str
) -> str:
    """POST one event as a delivery, and return its outcome in a few words."""
    import aiohttp  # noqa: PLC0415 - imported by now

    _, subject, sequence = logged.id.split("_")
    sent_at = now()
    event = Event(
        subject=UUID(subject),
        sequence=int(sequence),
        client=UUID(int=0),
        type=logged.type,
        at=datetime.fromisoformat(logged.timestamp),
        body=to_json_bytes({"type": logged.type, "timestamp": logged.timestamp, "data": logged.data}),
    )
    body = render(event, form, source)
    headers = {
        "Content-Type": CONTENT_TYPE[form],
        "webhook-id": logged.id,
        "webhook-timestamp": timestamp(sent_at),
        "webhook-signature": sign([secret], logged.id, sent_at, body),
    }
    try:
        async with session.post(url, data=body, headers=headers, allow_redirects=False) as response:
            return str(response.status)
    except TimeoutError:
        return f"no answer within {_ANSWER_WITHIN} s"
    except (aiohttp.ClientError, OSError) as error:
        return f"failed: {error}"


def _line(event: "LoggedEvent") -> str:
    status = str(event.data.get("task_status", ""))
    what = f"{event.data.get('kind', ''):<12}{coloured(status, 11)}" if status else f"{event.type:<23}"
    subject = event.data.get("task_id") or event.id.split("_")[1]
    return (
        f"{local_time(event.timestamp)}  {subject}  {what}{safe(str(event.data.get('task_status_msg') or ''))}".rstrip()
    )
