"""One process from start to stop: its parts, its listening socket, its worker. Nothing in progress is cut short."""

import asyncio
import hashlib
import signal
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any, Literal

from pydantic import SecretStr

from kling_relay.app import clock, keys
from kling_relay.app.allocator import set_up_allocator
from kling_relay.app.database import open_database
from kling_relay.app.ports import listening, naming_port, refuse_other_deployment, with_free_metrics_port
from kling_relay.app.telemetry import make_telemetry, serve_metrics
from kling_relay.app.wiring import SANDBOX_KEY, Parts, Tunables, assemble
from kling_relay.observe.event_log import Log
from kling_relay.observe.logging_setup import set_up
from kling_relay.sandbox import Profile, Sandbox
from kling_relay.sandbox.profile import split_options
from kling_relay.settings import Settings
from kling_relay.store.schema.readiness import reason_not_ready
from kling_relay.web import application
from kling_relay.web import server as web_server

Role = Literal["up", "api", "worker"]

SANDBOX_PORT = 8090
"""The sandbox's port beside an embedded database, unless an earlier start has found it in use."""
_FIRST_SANDBOX_PORT, _SANDBOX_PORTS = 20_000, 10_000
"""Below the ports that systems give to outgoing connections."""


async def serve(
    settings: Settings,
    role: Role,
    *,
    stopping: asyncio.Event | None = None,
    started: Callable[[Parts, Settings], None] | None = None,
    log: Log | None = None,
    tunables: Tunables = Tunables(),
) -> None:
    """Run one process of this role until SIGTERM, SIGINT or `stopping`. Call `started` once it serves.

    Port 0 takes a free port; `started` gets the settings with the real ones. A stop while it starts ends it quietly,
    without a call of `started`.
    """
    set_up_allocator()
    stopping = stopping or asyncio.Event()
    _listen_for_signals(stopping)
    log = log or log_of(settings)
    async with AsyncExitStack() as stack:
        telemetry = await stack.enter_async_context(make_telemetry(settings, log))
        bound = None
        if role != "worker":
            with naming_port(settings.host, settings.port, "RELAY_PORT"):
                bound = stack.enter_context(listening(settings.host, settings.port))
            settings = settings.model_copy(update={"port": bound.getsockname()[1]})
        database = await stack.enter_async_context(open_database(settings, create=role == "up"))
        if stopping.is_set():
            return
        provider_url = settings.provider_url or await _sandbox(stack, settings)
        parts = await assemble(stack, settings, database, provider_url, telemetry, tunables)
        await parts.partition_keeper.check()  # before anything is served that needs them
        for keeper in (parts.clock_keeper, parts.partition_keeper):
            stack.push_async_callback(_cancel, asyncio.ensure_future(keeper.run()))
        if role == "up":  # again: another service may have taken the usual port while this one was starting
            settings = with_free_metrics_port(settings)
        with naming_port(settings.host, settings.metrics_port, "RELAY_METRICS_PORT"):
            metrics_port = await stack.enter_async_context(
                serve_metrics(settings, telemetry.metrics, database, ready=lambda: _unready(parts))
            )
        settings = settings.model_copy(update={"metrics_port": metrics_port})
        if settings.bootstrap_key:
            await keys.ensure_bootstrap_key(database, parts.encryptor, settings.bootstrap_key.get_secret_value())
        server = AsyncExitStack()
        if bound:
            await refuse_other_deployment(settings, parts.context.deployment)
            serving = web_server.serve(
                application.build(parts.context),
                settings.host,
                settings.port,
                parts.context.limits,
                bound=bound,
                shutdown_timeout=settings.shutdown_grace.total_seconds(),
            )
            await server.enter_async_context(serving)
        grace = settings.shutdown_grace.total_seconds()
        work_ended = asyncio.Event()
        working = asyncio.ensure_future(parts.worker.run(work_ended, grace)) if role != "api" else None
        if started:
            started(parts, settings)
        await _until(stopping, working)
        parts.draining.set()
        if bound and settings.shutdown_delay:
            await asyncio.sleep(settings.shutdown_delay.total_seconds())
        await server.aclose()
        await parts.submit.drain()
        await parts.ingest.drain()
        work_ended.set()
        if working:
            await working
        await parts.submit.drain()  # orders that the sweep began to send
        await parts.ingest.drain()


def log_of(settings: Settings) -> Log:
    """Set up logging for this process. No line will contain a secret from the settings."""
    fields = type(settings).model_fields
    values = [getattr(settings, name) for name in fields]
    secrets = [value for value in values if isinstance(value, SecretStr)]
    secrets += [item for value in values if isinstance(value, tuple) for item in value if isinstance(item, SecretStr)]
    return set_up(settings.log_format, settings.log_level, secrets=[secret.get_secret_value() for secret in secrets])


async def _unready(parts: Parts) -> str | None:
    if parts.draining.is_set():
        return "shutting down"
    return await reason_not_ready(parts.database, parts.context.now())


async def _cancel(running: "asyncio.Future[None]") -> None:
    running.cancel()
    await asyncio.wait({running})


async def _until(stopping: asyncio.Event, working: "asyncio.Future[None] | None") -> None:
    """Wait until the process shall stop, or the worker ends by itself, which means that it failed."""
    stop_wait = asyncio.ensure_future(stopping.wait())
    waited: list[asyncio.Future[Any]] = [stop_wait, working] if working else [stop_wait]
    await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
    stop_wait.cancel()


def _listen_for_signals(stopping: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        try:
            loop.add_signal_handler(number, stopping.set)
        except (ValueError, RuntimeError):  # not the main thread: the caller stops us
            return


def sandbox(settings: Settings) -> Sandbox:
    """Return a sandbox with the options in the settings; raises ProfileError."""
    profile = Profile().with_options(split_options(settings.sandbox_profile))
    return Sandbox(profile, now=clock.now, rng=clock.random_generator())


async def start_sandbox(settings: Settings, port: int | None = None) -> tuple[Sandbox, str]:
    """Start a sandbox and return it with its address.

    It has the port of earlier starts if that is free, because addresses of results contain it.
    """
    for number in (usual_sandbox_port(settings) if port is None else port, 0):
        provider = sandbox(settings)  # one that has failed to start cannot start again
        with suppress(OSError):
            url = await provider.start(port=number)
            _remember_sandbox_port(settings, int(url.rpartition(":")[2]))
            return provider, url
    raise OSError("the sandbox finds no free port")


def usual_sandbox_port(settings: Settings) -> int:
    """Return the port of earlier starts. With a database elsewhere it is made from the database's address."""
    if settings.database_url is not None:
        digest = hashlib.sha256(settings.database_url.get_secret_value().encode()).digest()
        return _FIRST_SANDBOX_PORT + int.from_bytes(digest[:4], "big") % _SANDBOX_PORTS
    try:
        port = int(_sandbox_port_file(settings).read_text("ascii"))
    except (OSError, ValueError):
        return SANDBOX_PORT
    return port if 0 < port < 65536 else SANDBOX_PORT


def _remember_sandbox_port(settings: Settings, port: int) -> None:
    if settings.database_url is None:
        with suppress(OSError):
            _sandbox_port_file(settings).parent.mkdir(parents=True, exist_ok=True)
            _sandbox_port_file(settings).write_text(f"{port}\n", "ascii")


def _sandbox_port_file(settings: Settings) -> Path:
    return Path(settings.data_dir).expanduser() / "sandbox-port"


async def _sandbox(stack: AsyncExitStack, settings: Settings) -> str:
    """Start the sandbox in this process and return its URL."""
    provider, url = await start_sandbox(settings)
    stack.push_async_callback(provider.stop)
    return url


async def play_provider(settings: Settings, port: int) -> None:
    """Run the sandbox for several processes until SIGTERM or SIGINT."""
    stopping = asyncio.Event()
    _listen_for_signals(stopping)
    provider = sandbox(settings)
    await provider.start(port=port)
    _remember_sandbox_port(settings, port)
    await stopping.wait()
    await provider.stop()


__all__ = ["SANDBOX_KEY", "Role", "listening", "play_provider", "sandbox", "serve", "start_sandbox"]
