"""`doctor`: looks at everything that a service needs, says what it found, and what to do about what is wrong."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from kling_relay.cli.connection import json_option
from kling_relay.cli.output import Screen

if TYPE_CHECKING:
    from kling_relay.app.doctor_finding import Finding

MARKS = {"good": ("✓", "green"), "poor": ("!", "yellow"), "bad": ("✗", "red")}


@click.command()
@json_option
@click.pass_context
def doctor(ctx: click.Context, as_json: bool) -> None:
    """Check all that a service needs, and say what to do.

    Settings, database, clock, schema, event log, secrets, partitions, provider, the service itself and its public
    address. It needs the settings of the service and changes nothing; an embedded PostgreSQL is started for the
    moment where it does not run. Exit code 1 where something is broken.
    """
    screen = Screen(as_json)
    found = asyncio.run(_all(screen))
    if as_json:
        screen.document([asdict(each) for each in found])
    ctx.exit(1 if any(each.state == "bad" for each in found) else 0)


async def _all(screen: Screen) -> "list[Finding]":
    found = []
    async for finding in _looks():
        found.append(finding)
        if not screen.as_json:
            mark, colour = MARKS[finding.state]
            click.echo(f"{click.style(mark, fg=colour)} {finding.about}: {finding.detail}")
            if finding.advice:
                click.echo(f"    {finding.advice}")
    return found


async def _looks() -> "AsyncIterator[Finding]":
    from kling_relay.app.doctor import examine  # noqa: PLC0415 - the whole service, half a second
    from kling_relay.app.doctor_finding import CheckState, Finding  # noqa: PLC0415
    from kling_relay.settings import SettingsError, read  # noqa: PLC0415

    try:
        settings = read()
    except SettingsError as error:
        for fault in error.faults:
            yield Finding("settings", CheckState.BAD, fault, "`kling-relay settings` explains every setting.")
        return
    async for finding in examine(settings):
        yield finding
