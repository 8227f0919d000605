"""A cable to PostgreSQL that a test can pull and plug in again, while the server itself goes on running."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import quote, unquote

_SOCKET = ".s.PGSQL.5432"


class Cable:
    """A Unix socket that is handed on to another; `url` is the database's address by this way."""

    def __init__(self, url: str, directory: Path) -> None:
        before, directory_of_server = url.rsplit("host=", 1)
        self.url = f"{before}host={quote(str(directory), safe='')}"
        self._theirs = Path(unquote(directory_of_server)) / _SOCKET
        self._ours = directory / _SOCKET
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()

    async def plug_in(self) -> None:
        self._server = await asyncio.start_unix_server(self._handed_on, self._ours)

    async def pull(self) -> None:
        """Hang up on everybody, and let nobody in."""
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
    """Give a plugged-in cable to the database at `url` (one that is reached by a Unix socket)."""
    with tempfile.TemporaryDirectory() as directory:
        made = Cable(url, Path(directory))
        await made.plug_in()
        try:
            yield made
        finally:
            await made.pull()
