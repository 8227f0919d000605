"""A TCP line to the service that a test can freeze, cut and restore while the service keeps running."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit


class Line:
    """A port that forwards to the service; `url` is the service's address through it."""

    def __init__(self, url: str) -> None:
        self._target = urlsplit(url)
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()
        self._is_passing = asyncio.Event()
        self._is_passing.set()
        self._port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    async def restore(self) -> None:
        """Accept connections again, at the same port."""
        self._server = await asyncio.start_server(self._forward, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        """Close all connections and refuse new ones, as while the service restarts."""
        if self._server is not None:
            self._server.close()
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    def freeze(self) -> None:
        """Keep all connections open without passing a byte, as a network does that drops packets."""
        self._is_passing.clear()

    def thaw(self) -> None:
        self._is_passing.set()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            their_reader, their_writer = await asyncio.open_connection(self._target.hostname, self._target.port)
            with suppress(ConnectionError, asyncio.CancelledError):
                await asyncio.gather(self._copy(reader, their_writer), self._copy(their_reader, writer))
            their_writer.close()
        finally:
            writer.close()
            self._open.discard(task)

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(65536):
            await self._is_passing.wait()
            writer.write(chunk)
            await writer.drain()
        writer.close()


@asynccontextmanager
async def line(url: str) -> AsyncIterator[Line]:
    """Give a working line to the service at `url`."""
    made = Line(url)
    await made.restore()
    try:
        yield made
    finally:
        await made.cut()
