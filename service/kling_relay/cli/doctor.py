"""`doctor`: checks everything that a service needs, and says how to repair what is broken."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from kling_relay.cli.connection import json_option
from kling_relay.cli.errors import plain_errors
from kling_relay.cli.output import Output, can_print

if TYPE_CHECKING:
    from kling_relay.app.doctor_finding import Finding

MARKS = {"ok": ("✓", "green"), "warning": ("!", "yellow"), "error": ("✗", "red")}
_PLAIN_MARKS = {"✓": "+", "✗": "x"}
"""For an output that cannot show the marks."""


@click.command()
@json_option
@click.pass_context
def doctor(ctx: click.Context, as_json: bool) -> None:
    """Check everything that a service needs.

    It checks settings, database, clock, schema, event log, secrets, partitions, provider, the running service and its
    public address. It reads the settings of the service and changes nothing. If the embedded PostgreSQL is not
    running, it is started for the check. The exit code is 1 if something is broken.
    """
    output = Output(as_json)
    with plain_errors(as_json=as_json):
        findings = asyncio.run(_report(output))
    if as_json:
        output.document([asdict(finding) for finding in findings])
    ctx.exit(1 if any(finding.state == "error" for finding in findings) else 0)


async def _report(output: Output) -> "list[Finding]":
    """Print each finding as it is made, and return them all."""
    findings = []
    # closed here if the reader of the output goes away: the checks hold connections and timeouts of this task
    async with aclosing(_findings()) as made:
        async for finding in made:
            findings.append(finding)
            if not output.as_json:
                _print(finding)
    return findings


def _print(finding: "Finding") -> None:
    mark, colour = MARKS[finding.state]
    mark = mark if can_print(mark) else _PLAIN_MARKS[mark]
    click.echo(f"{click.style(mark, fg=colour)} {finding.check}: {finding.detail}")
    if finding.advice:
        click.echo(f"    {finding.advice}")


async def _findings() -> "AsyncGenerator[Finding, None]":
    from kling_relay.app.doctor import examine  # noqa: PLC0415 - the whole service, half a second
    from kling_relay.app.doctor_finding import CheckState, Finding  # noqa: PLC0415
    from kling_relay.settings import SettingsError, read  # noqa: PLC0415

    try:
        settings = read()
    except SettingsError as error:
        for fault in error.faults:
            yield Finding("settings", CheckState.ERROR, fault, "`kling-relay settings` explains every setting.")
        return
    async with aclosing(examine(settings)) as made:
        async for finding in made:
            yield finding
