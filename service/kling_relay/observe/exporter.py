"""The exporter: /metrics, /livez and /readyz on a port of their own, without a key. It need not be public."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web
from prometheus_client import disable_created_metrics
from prometheus_client.aiohttp import make_aiohttp_handler

from kling_relay.observe.metrics import Metrics


@asynccontextmanager
async def export(
    metrics: Metrics, host: str, port: int, *, ready: Callable[[], Awaitable[str | None]]
) -> AsyncIterator[int]:
    """Serve and yield the port; with `port` 0 the system chooses one.

    `ready` returns why the process is not ready, or None. If it raises, that is a reason, too.
    """

    async def live(_: web.Request) -> web.Response:
        return web.json_response({"status": "alive"})

    async def readiness(_: web.Request) -> web.Response:
        try:
            reason = await ready()
        except Exception as error:  # noqa: BLE001 - a failing check means not ready
            reason = type(error).__name__
        return web.json_response({"status": reason or "ready"}, status=503 if reason else 200)

    # `_created` series double the output and repeat process_start_time_seconds
    disable_created_metrics()  # type: ignore[no-untyped-call]  # the library has no type hints here
    app = web.Application()
    app.router.add_get("/metrics", make_aiohttp_handler(metrics.registry))
    app.router.add_get("/livez", live)
    app.router.add_get("/readyz", readiness)
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1.0, keepalive_timeout=75.0)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        await site.start()
        yield site.port
    finally:
        await runner.cleanup()
