"""The event loop's look-up of names, for the few names that the operator chose."""

import asyncio
import socket
from typing import Any


class LoopResolver:
    """Asks the event loop, which has a few threads for it."""

    async def resolve(self, host: str, port: int, family: socket.AddressFamily) -> list[dict[str, Any]]:
        """Return every address of `host`. Raises OSError if it has none."""
        try:
            infos = await asyncio.get_running_loop().getaddrinfo(
                host, port, family=family, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG
            )
        except UnicodeError:
            raise socket.gaierror(socket.EAI_NONAME, "not a host name") from None
        return [{"family": info[0], "host": str(info[4][0])} for info in infos]
