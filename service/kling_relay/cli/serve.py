"""`up`, `api`, `worker`, `migrate` and `sandbox`: what runs until a signal says stop, or brings the schema up."""

import asyncio
import json
import signal
import sys
from datetime import timedelta
from typing import TYPE_CHECKING, Literal

import click

from kling_relay.cli.errors import told
from kling_relay.cli.port import would_be_shared
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
    """Run deliveries and sweeps."""
    _run("worker")


@click.command()
@click.option("--wait", is_flag=True, help="Change nothing: wait until somebody else has brought the schema up.")
@click.option("--within", type=Length(), default="5m", show_default=True, help="How long to wait, with --wait.")
@click.option("--restored", is_flag=True, help="The database is from a backup: event cursors go on above all others.")
@click.option("--drop-old", is_flag=True, help="Drop partitions beyond RELAY_RETENTION too, where workers may not.")
def migrate(wait: bool, within: timedelta, restored: bool, drop_old: bool) -> None:
    """Bring the database's schema to this release's.

    Partitions for a week ahead are made as well.
    """
    if wait and (restored or drop_old):
        raise click.UsageError("--wait changes nothing; --restored and --drop-old are for the one that migrates.")
    with told():
        from kling_relay import app, settings  # noqa: PLC0415 - the whole service, half a second

        dropped = app.migrate(settings.read(), wait=within if wait else None, restored=restored, drop_old=drop_old)
    if dropped:
        click.echo(f"Dropped {', '.join(dropped)}.")


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="The interface to listen on.")
@click.option("--port", default=8090, show_default=True, help="The port; 0 takes a free one.")
@click.option("--public-url", help="What addresses of results begin with.  [default: http://HOST:PORT]")
@click.option("--seed", type=int, help="Throw the same dice every time.")
@click.option("--set", "options", multiple=True, metavar="OPTION=VALUE", help="An option such as loss=0.3; repeatable.")
def sandbox(host: str, port: int, public_url: str | None, seed: int | None, options: tuple[str, ...]) -> None:
    """Run the sandbox, a provider that misbehaves when asked."""
    malformed = [option for option in options if "=" not in option]
    if malformed:
        raise click.BadParameter(f"{malformed[0]!r} is not OPTION=VALUE.", param_hint="--set")
    with told():
        from kling_relay.app.commands import in_loop  # noqa: PLC0415 - the whole service, half a second
        from kling_relay.sandbox import Profile  # noqa: PLC0415

        pairs = [(name, text) for name, _, text in (option.partition("=") for option in options)]
        profile = Profile().with_options(pairs)
        in_loop(_sandbox(profile, host, port, public_url, seed))


async def _sandbox(profile: "Profile", host: str, port: int, public_url: str | None, seed: int | None) -> None:
    from kling_relay.app import clock  # noqa: PLC0415 - imported by now
    from kling_relay.sandbox import Sandbox  # noqa: PLC0415

    one = Sandbox(profile, now=clock.now, rng=clock.generator(seed), public_url=public_url)
    url = await one.start(host, port)
    click.echo(f"The sandbox listens on {url} and accepts the key {profile.keys[0] if profile.keys else '(none)'}.")
    click.echo("Its front page lists the directives and options that make it misbehave. Ctrl-C stops it.")
    try:
        await _stopped()
    finally:
        await one.stop()


async def _stopped() -> None:
    """Return when a signal says stop."""
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    await stopping.wait()


def _run(role: Literal["up", "api", "worker"]) -> None:
    with told():
        from kling_relay import app, settings  # noqa: PLC0415 - the whole service, half a second

        found = settings.read()
        for risk in settings.risks(found):
            _warned(risk, found)
        if role != "worker" and found.port and would_be_shared(found.host, found.port):
            note = (
                f"port {found.port} is served by another process already; the two will share its requests, as in a "
                "rolling restart. Where that is not meant, stop one of them or set RELAY_PORT."
            )
            _warned(note, found)
        code = app.run(found, role, _started if role != "worker" else _begun)
    if code:
        raise click.exceptions.Exit(code)


def _started(_: "Parts", settings: "Settings") -> None:
    _said(f"kling-relay listens on http://{settings.host}:{settings.port}; the console is at /console.", settings)


def _begun(_: "Parts", settings: "Settings") -> None:
    _said("kling-relay's worker has begun.", settings)


def _warned(risk: str, settings: "Settings") -> None:
    _said(risk, settings, level="warning", before=click.style("Note: ", fg="yellow"))


def _said(sentence: str, settings: "Settings", *, level: str = "info", before: str = "") -> None:
    """Tell people on a terminal; machines get a line like those of the log, whatever its level, and can read on."""
    if settings.log_format == "human" or (settings.log_format == "auto" and sys.stderr.isatty()):
        click.echo(before + sentence, err=True)
        return
    from kling_relay.app import clock  # noqa: PLC0415 - imported by now

    at = clock.now().isoformat().replace("+00:00", "Z")
    click.echo(json.dumps({"at": at, "level": level, "event": sentence}, ensure_ascii=False), err=True)
