"""`demo`: everything at once on this machine, with a provider and a subscriber brought along, and something to see.

What it is made of is the service itself, a client of its HTTP API and a subscriber, each as anybody would have them.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from kling_relay.cli.errors import Failure, Misused, told
from kling_relay.cli.port import is_free

if TYPE_CHECKING:
    from kling_relay.app.wiring import Parts
    from kling_relay.settings import Settings

SANDBOX_PORT = 8090
"""Fixed, so that the addresses of yesterday's pictures still lead to them."""
SUBSCRIBER_PORT = 8091
_LOOPBACK = ("127.0.0.0/8", "::1/128")
_GRACE = timedelta(seconds=2)
"""What requests and attempts in hand get after Ctrl-C; a demo should end at once."""


@click.command()
@click.option("--once", is_flag=True, help="End when the four orders are delivered.")
def demo(once: bool) -> None:
    """Run everything on this machine, and order one of each kind.

    PostgreSQL, the service with its console, a provider that draws pictures, and a subscriber that verifies what it
    gets; data and key are kept in RELAY_DATA_DIR (.relay) for the next time. `make run` does the same.
    """
    with told():
        from kling_relay.app.commands import in_loop  # noqa: PLC0415 - the whole service, half a second
        from kling_relay.settings import read  # noqa: PLC0415 - as above

        in_loop(_demo(_adapted(read()), once=once))


def _adapted(settings: "Settings") -> "Settings":
    """Return the settings as a demo needs them: nobody else's provider, loopback allowed, a quick end, a quiet log."""
    if settings.provider_url:
        advice = "Unset RELAY_PROVIDER_URL and RELAY_PROVIDER_KEY, or run the service itself: `kling-relay up`."
        raise Misused("The demo brings a provider of its own.", advice=advice)
    from ipaddress import ip_network  # noqa: PLC0415 - beside its one use

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
    """Start everything, let the story be told, and stay until a signal says stop (or the story is over)."""
    if settings.port and not is_free(settings.host, settings.port):
        raise Failure(
            f"Port {settings.port} is in use: a demo that still runs, perhaps.",
            advice=f"Stop what listens there, or choose another port: RELAY_PORT={settings.port + 1} make run",
        )
    from kling_relay.cli.demo_script import Story  # noqa: PLC0415 - brings aiohttp along

    click.echo("Starting PostgreSQL, the sandbox and the service; the first time takes some ten seconds.")
    stopping = asyncio.Event()
    async with _provider(settings) as provider_url, _serving(settings, provider_url, stopping) as (parts, found, end):
        async with Story.begun(parts, found, SUBSCRIBER_PORT) as story:
            telling = asyncio.ensure_future(story.tell(is_last=once))
            ended = asyncio.ensure_future(stopping.wait())
            waited: list[asyncio.Future[Any]] = [telling, ended, end]
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            if telling.done() and not once and not telling.exception():
                await asyncio.wait(waited[1:], return_when=asyncio.FIRST_COMPLETED)
            ended.cancel()
            telling.cancel()
            if not once:
                click.echo("\nStopping.")
            with suppress(asyncio.CancelledError):
                await telling
        stopping.set()


@asynccontextmanager
async def _provider(settings: "Settings") -> AsyncIterator[str]:
    """Run the sandbox on its own port where that is free, and give its address."""
    from kling_relay.app.serving import sandbox  # noqa: PLC0415 - imported by now

    provider = sandbox(settings)
    try:
        try:
            url = await provider.start(port=SANDBOX_PORT)
        except OSError:
            provider = sandbox(settings)  # a stopped one does not start again
            url = await provider.start()
        yield url
    finally:
        await provider.stop()


@asynccontextmanager
async def _serving(
    settings: "Settings", provider_url: str, stopping: asyncio.Event
) -> AsyncIterator[tuple["Parts", "Settings", "asyncio.Future[None]"]]:
    """Run the service until the end of the block; what stops it before is raised."""
    from pydantic import SecretStr  # noqa: PLC0415 - imported by now

    from kling_relay.app import database  # noqa: PLC0415 - as above
    from kling_relay.app.serving import SANDBOX_KEY, serve  # noqa: PLC0415 - as above

    settings = settings.model_copy(update={"provider_url": provider_url, "provider_key": SecretStr(SANDBOX_KEY)})
    if settings.database_url is not None:
        await database.prepare(settings.database_url.get_secret_value(), settings)
    ready: asyncio.Future[tuple[Parts, Settings]] = asyncio.get_running_loop().create_future()
    end = asyncio.ensure_future(
        serve(settings, "up", stopping=stopping, started=lambda parts, found: ready.set_result((parts, found)))
    )
    async with AsyncExitStack() as stack:
        stack.callback(stopping.set)
        waited: list[asyncio.Future[Any]] = [end, ready]
        await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        if ready.done():
            parts, found = ready.result()
            yield parts, found, end
            stopping.set()
        await end
