"""`demo`: runs the service, a provider, a client and a subscriber on this machine.

The service is the real one. The client and the subscriber use its HTTP API, as any user's would.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from kling_relay.cli.errors import Failure, UsageFailure, plain_errors

if TYPE_CHECKING:
    from kling_relay.app.wiring import Parts
    from kling_relay.cli.demo_script import DemoScript
    from kling_relay.settings import Settings

SUBSCRIBER_PORT = 8091
_LOOPBACK = ("127.0.0.0/8", "::1/128")
_GRACE = timedelta(seconds=2)
"""How long requests and delivery attempts may go on after Ctrl-C; a demo should end at once."""


@click.command()
@click.option("--once", is_flag=True, help="Exit when the four orders are delivered.")
def demo(once: bool) -> None:
    """Run the service with a sandbox, and order one of each kind.

    It starts PostgreSQL, the service with its console, a sandbox provider that draws pictures, and a subscriber that
    verifies every delivery. Data and key are kept in RELAY_DATA_DIR (.relay) for the next demo. `make run` does the
    same.
    """
    with plain_errors(extra="embedded"):
        from kling_relay.app.commands import in_loop  # noqa: PLC0415 - the whole service, half a second
        from kling_relay.settings import read  # noqa: PLC0415 - as above

        in_loop(_demo(_adapted(read()), once=once))


def _adapted(settings: "Settings") -> "Settings":
    """Return the settings for a demo: no other provider, loopback allowed, a quick stop, a quiet log."""
    if settings.provider_url:
        advice = "Unset RELAY_PROVIDER_URL and RELAY_PROVIDER_KEY, or run the service: `kling-relay up`."
        raise UsageFailure("The demo uses its own sandbox provider.", advice=advice)
    from ipaddress import ip_network  # noqa: PLC0415 - used only here

    from kling_relay.app.ports import is_free  # noqa: PLC0415 - the whole service, half a second

    changes: dict[str, object] = {
        "allowed_networks": (*settings.allowed_networks, *map(ip_network, _LOOPBACK)),
        "shutdown_grace": _GRACE,
        "processes": 1,
    }
    if "log_level" not in settings.model_fields_set:
        changes["log_level"] = "warning"
    if settings.metrics_port and not is_free(settings.host, settings.metrics_port):
        changes["metrics_port"] = 0
    return settings.model_copy(update=changes)


async def _demo(settings: "Settings", *, once: bool) -> None:
    """Start everything and play the script. Stay until a signal, or with `once` until the script ends."""
    from kling_relay.app.ports import is_free  # noqa: PLC0415 - imported by now

    if settings.port and not is_free(settings.host, settings.port):
        raise Failure(
            f"Port {settings.port} is in use. Is another demo running?",
            advice=f"Stop the program that listens there, or choose a port: RELAY_PORT={settings.port + 1} make run",
        )
    from kling_relay.cli.demo_script import DemoScript  # noqa: PLC0415 - imports aiohttp
    from kling_relay.client import RelayError  # noqa: PLC0415 - as above

    click.echo("Starting PostgreSQL, the sandbox and the service. The first start takes about ten seconds.")
    stop_event = asyncio.Event()
    async with _provider(settings) as url, _serving(settings, url, stop_event) as (parts, current, serve_task):
        try:
            async with DemoScript.prepared(parts, current, SUBSCRIBER_PORT) as script:
                await _play(script, stop_event, serve_task, once=once)
        except RelayError:
            if not stop_event.is_set():
                raise
            raise click.Abort from None  # Ctrl-C has stopped the service before the script called it
        stop_event.set()


async def _play(
    script: "DemoScript", stop_event: asyncio.Event, serve_task: "asyncio.Future[None]", *, once: bool
) -> None:
    """Play the script until a signal or the end of the service, or with `once` until the script ends."""
    play_task = asyncio.ensure_future(script.play(is_last=once))
    signal_task = asyncio.ensure_future(stop_event.wait())
    futures: list[asyncio.Future[Any]] = [play_task, signal_task, serve_task]
    await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)
    if play_task.done() and not once and not play_task.exception():
        await asyncio.wait(futures[1:], return_when=asyncio.FIRST_COMPLETED)
    signal_task.cancel()
    play_task.cancel()
    if not once:
        click.echo("\nStopping.")
    with suppress(asyncio.CancelledError):
        await play_task


@asynccontextmanager
async def _provider(settings: "Settings") -> AsyncIterator[str]:
    """Run the sandbox, on its usual port if that is free, and give its address."""
    from kling_relay.app.serving import start_sandbox  # noqa: PLC0415 - already imported

    provider, url = await start_sandbox(settings)
    try:
        yield url
    finally:
        await provider.stop()


@asynccontextmanager
async def _serving(
    settings: "Settings", provider_url: str, stop_event: asyncio.Event
) -> AsyncIterator[tuple["Parts", "Settings", "asyncio.Future[None]"]]:
    """Run the service until the end of the block. Raises the error that stops it before."""
    from pydantic import SecretStr  # noqa: PLC0415 - already imported

    from kling_relay.app import database  # noqa: PLC0415 - as above
    from kling_relay.app.serving import SANDBOX_KEY, serve  # noqa: PLC0415 - as above

    settings = settings.model_copy(update={"provider_url": provider_url, "provider_key": SecretStr(SANDBOX_KEY)})
    if settings.database_url is not None:
        await database.prepare_database(settings.database_url.get_secret_value(), settings)
    ready: asyncio.Future[tuple[Parts, Settings]] = asyncio.get_running_loop().create_future()
    serve_task = asyncio.ensure_future(
        serve(settings, "up", stopping=stop_event, started=lambda parts, current: ready.set_result((parts, current)))
    )
    async with AsyncExitStack() as stack:
        stack.callback(stop_event.set)
        futures: list[asyncio.Future[Any]] = [serve_task, ready]
        await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)
        if ready.done():
            parts, current = ready.result()
            yield parts, current, serve_task
            stop_event.set()
        await serve_task
        if not ready.done():
            raise click.Abort  # Ctrl-C while it started
