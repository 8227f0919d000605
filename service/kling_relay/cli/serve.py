"""`up`, `api`, `worker`, `migrate` and `sandbox`: the commands that run a server or upgrade the schema."""

import asyncio
import json
import signal
import sys
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Literal

import click

from kling_relay.cli.errors import plain_errors
from kling_relay.cli.time_arguments import Length

if TYPE_CHECKING:
    from kling_relay.app.wiring import Parts
    from kling_relay.sandbox import Profile
    from kling_relay.settings import Settings


@click.command()
def up() -> None:
    """Run the API, the console and the worker in one process."""
    _run("up")


@click.command()
def api() -> None:
    """Run the API, the callbacks and the console."""
    _run("api")


@click.command()
def worker() -> None:
    """Run the worker: deliveries, polling and housekeeping."""
    _run("worker")


@click.command()
@click.option("--wait", is_flag=True, help="Change nothing; wait until another process has upgraded the schema.")
@click.option("--within", type=Length(), default="5m", show_default=True, help="How long to wait, with --wait.")
@click.option(
    "--restored", is_flag=True, help="The database is from a backup: new event cursors are higher than all old ones."
)
@click.option(
    "--drop-old", is_flag=True, help="Also drop partitions older than RELAY_RETENTION, if workers lack the right."
)
def migrate(wait: bool, within: timedelta, restored: bool, drop_old: bool) -> None:
    """Upgrade the database's schema to this release.

    It also creates the partitions of the coming week.
    """
    if wait and (restored or drop_old):
        raise click.UsageError("--wait changes nothing: it excludes --restored and --drop-old.")
    with plain_errors():
        from kling_relay import app, settings  # noqa: PLC0415 - the whole service, half a second

        dropped = app.migrate(settings.read(), wait=within if wait else None, restored=restored, drop_old=drop_old)
    if dropped:
        click.echo(f"Dropped {', '.join(dropped)}.")


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="The interface to listen on.")
@click.option("--port", default=8090, show_default=True, help="The port; 0 picks a free one.")
@click.option("--public-url", help="The start of every result's URL.  [default: http://HOST:PORT]")
@click.option("--seed", type=int, help="Make the random choices repeatable.")
@click.option(
    "--set", "options", multiple=True, metavar="OPTION=VALUE", help="Set an option, e.g. loss=0.3. Repeatable."
)
def sandbox(host: str, port: int, public_url: str | None, seed: int | None, options: tuple[str, ...]) -> None:
    """Run the sandbox: a provider with faults on request."""
    malformed = [option for option in options if "=" not in option]
    if malformed:
        raise click.BadParameter(f"{malformed[0]!r} is not OPTION=VALUE.", param_hint="--set")
    with plain_errors():
        from kling_relay.app.commands import in_loop  # noqa: PLC0415 - the whole service, half a second
        from kling_relay.sandbox import Profile  # noqa: PLC0415

        pairs = [(name, text) for name, _, text in (option.partition("=") for option in options)]
        profile = Profile().with_options(pairs)
        in_loop(_sandbox(profile, host, port, public_url, seed))


async def _sandbox(profile: "Profile", host: str, port: int, public_url: str | None, seed: int | None) -> None:
    from kling_relay.app import clock  # noqa: PLC0415 - imported by now
    from kling_relay.app.ports import naming_port  # noqa: PLC0415
    from kling_relay.sandbox import Sandbox  # noqa: PLC0415

    server = Sandbox(profile, now=clock.now, rng=clock.random_generator(seed), public_url=public_url)
    with naming_port(host, port, "--port"):
        url = await server.start(host, port)
    click.echo(f"The sandbox listens on {url}. Its key is {profile.keys[0] if profile.keys else '(none)'}.")
    click.echo("Its front page lists the directives and options that make it misbehave. Press Ctrl-C to stop it.")
    try:
        await _stopped()
    finally:
        await server.stop()


async def _stopped() -> None:
    """Return at SIGTERM or SIGINT."""
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    await stopping.wait()


def _run(role: Literal["up", "api", "worker"]) -> None:
    with plain_errors(extra="embedded" if role == "up" else "server"):
        from kling_relay import app, settings  # noqa: PLC0415 - the whole service, half a second

        current = settings.read()
        for risk in settings.risks(current):
            _warn(risk, current)
        if role == "up":
            chosen, current = current, app.with_free_metrics_port(current)
            if current is not chosen:
                _warn(f"Port {chosen.metrics_port} is in use, so the metrics have another one.", current)
        if role != "worker" and app.shares_port(current):
            note = (
                f"Port {current.port} is already served by another process of this deployment. The two share its"
                " requests, as in a rolling restart. If you do not want that, stop one of them or set RELAY_PORT."
            )
            _warn(note, current)
        announce = _announce_worker if role == "worker" else _announce_server
        code = app.run(current, role, partial(announce, current))
    if code:
        raise click.exceptions.Exit(code)


def _announce_server(chosen: "Settings", _: "Parts", settings: "Settings") -> None:
    _log(f"kling-relay listens on http://{settings.host}:{settings.port}. The console is at /console.", settings)
    _announce_metrics(chosen, settings)


def _announce_worker(chosen: "Settings", _: "Parts", settings: "Settings") -> None:
    _log("The worker of kling-relay has started.", settings)
    _announce_metrics(chosen, settings)


def _announce_metrics(chosen: "Settings", settings: "Settings") -> None:
    if settings.metrics_port != chosen.metrics_port:
        _log(f"The metrics are at http://{settings.host}:{settings.metrics_port}/metrics.", settings)


def _warn(sentence: str, settings: "Settings") -> None:
    _log(sentence, settings, level="warning", before=click.style("Note: ", fg="yellow"))


def _log(sentence: str, settings: "Settings", *, level: str = "info", before: str = "") -> None:
    """Print a sentence on a terminal. Elsewhere print a line in the format of the log, whatever its level."""
    if settings.log_format == "human" or (settings.log_format == "auto" and sys.stderr.isatty()):
        click.echo(before + sentence, err=True)
        return
    from kling_relay.app import clock  # noqa: PLC0415 - imported by now

    at = clock.now().isoformat().replace("+00:00", "Z")
    click.echo(json.dumps({"at": at, "level": level, "event": sentence}, ensure_ascii=False), err=True)
