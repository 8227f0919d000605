"""A connection to PostgreSQL that a test can cut and restore while the server keeps running."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import quote, unquote

_SOCKET = ".s.PGSQL.5432"


class Cable:
    """A Unix socket that forwards to another one; `url` is the database's address through it."""

    def __init__(self, url: str, directory: Path) -> None:
        before, directory_of_server = url.rsplit("host=", 1)
        self.url = f"{before}host={quote(str(directory), safe='')}"
        self._theirs = Path(unquote(directory_of_server)) / _SOCKET
        self._ours = directory / _SOCKET
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()

    async def plug_in(self) -> None:
        self._server = await asyncio.start_unix_server(self._handed_on, self._ours)

    def lead_to(self, url: str) -> None:
        """Lead new connections to the database at `url`, as a service's name moves; open ones stay where they are."""
        self._theirs = Path(unquote(url.rsplit("host=", 1)[1])) / _SOCKET

    async def pull(self) -> None:
        """Close all connections and accept no new ones."""
        if self._server is not None:
            self._server.close()
            self._ours.unlink(missing_ok=True)
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _handed_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            their_reader, their_writer = await asyncio.open_unix_connection(self._theirs)
            ways = [_copied(reader, their_writer), _copied(their_reader, writer)]
            with suppress(ConnectionError, asyncio.CancelledError):
                await asyncio.gather(*ways)
            their_writer.close()
        finally:
            writer.close()
            self._open.discard(task)


async def _copied(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(65536):
        writer.write(chunk)
        await writer.drain()
    writer.close()


@asynccontextmanager
async def cable(url: str) -> AsyncIterator[Cable]:
    """Give a connected cable to the database at `url`, which must use a Unix socket."""
    with tempfile.TemporaryDirectory() as directory:
        made = Cable(url, Path(directory))
        await made.plug_in()
        try:
            yield made
        finally:
            await made.pull()
