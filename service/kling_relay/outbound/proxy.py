"""An HTTP proxy between us and the other end: it forwards http, and opens a tunnel for https (CONNECT, RFC 9110)."""

import asyncio
import socket
import ssl
from base64 import b64encode
from typing import NamedTuple

from typing_extensions import override
from yarl import URL

from kling_relay.outbound.http_connection import Connection, ConnectionEndedError, NotHTTPError
from kling_relay.outbound.http_response import MAX_HEAD, find_head
from kling_relay.outbound.target import InvalidRequestError, Target, read_target


class ProxyRefusedError(OSError):
    """The proxy opened no tunnel. `status` is its answer."""

    def __init__(self, status: int) -> None:
        super().__init__(f"the proxy answers {status}")
        self.status = status


class Proxy(NamedTuple):
    """Where the proxy is, and how we authenticate there."""

    target: Target
    authorization: str
    """The header, or an empty string."""

    def header_for(self, target: Target) -> str:
        """Return the header that authenticates a request, which the other end of a tunnel must not see."""
        return "" if target.is_tls else self.authorization

    def start_of(self, target: Target) -> str:
        """Return what follows the method: a proxy gets the whole URL of a request that it forwards."""
        return target.rest if target.is_tls else f"http://{target.authority}{target.rest}"

    @override
    def __repr__(self) -> str:
        return f"Proxy({self.target.authority})"


def read_proxy(url: str) -> Proxy:
    """Return the proxy at `url`, which may contain a user and a password, and may lack http://, as curl's may.

    Raises InvalidRequestError.
    """
    try:
        parts = URL(url if "://" in url else f"http://{url}")
        target = read_target(str(parts.with_user(None).with_path("/")))
    except (ValueError, TypeError):
        raise InvalidRequestError from None
    if parts.user is None:
        return Proxy(target, "")
    pair = b64encode(f"{parts.user}:{parts.password or ''}".encode()).decode()
    return Proxy(target, f"Proxy-Authorization: Basic {pair}\r\n")


async def open_tunnel(
    proxy: Proxy, target: Target, sock: socket.socket, tls: ssl.SSLContext, connection: Connection
) -> None:
    """Make `connection` a TLS connection to `target` through the proxy that `sock` is connected to.

    Raises ProxyRefusedError, NotHTTPError, OSError, ssl.SSLError.
    """
    loop = asyncio.get_running_loop()
    host = f"[{target.host}]:{target.port}" if ":" in target.host else f"{target.host}:{target.port}"
    request = f"CONNECT {host} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: kling-relay\r\n{proxy.authorization}\r\n"
    tunnel = _Tunnel(request.encode(), loop.create_future())
    secure = proxy.target.is_tls
    try:
        outer, _ = await loop.create_connection(
            lambda: tunnel,
            sock=sock,
            ssl=tls if secure else None,
            server_hostname=proxy.target.host if secure else None,
        )
        await tunnel.opened
        inner = await loop.start_tls(outer, connection, tls, server_hostname=target.host)
    except BaseException:
        tunnel.close()
        raise
    if inner is None:
        raise ConnectionEndedError(is_untouched=True)
    connection.connection_made(inner)


class _Tunnel(asyncio.Protocol):
    """Sends CONNECT and reads the head of the answer; what follows belongs to the tunnel."""

    def __init__(self, request: bytes, opened: "asyncio.Future[None]") -> None:
        self._request = request
        self._answer = b""
        self._transport: asyncio.Transport | None = None
        self.opened = opened

    def close(self) -> None:
        self.opened.cancel()
        if self._transport is not None:
            self._transport.abort()

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # a stream's is a Transport
        transport.write(self._request)  # type: ignore[attr-defined]

    @override
    def data_received(self, data: bytes) -> None:
        self._answer += data
        if self.opened.done():
            return
        line, _, end = find_head(self._answer)
        if line is not None and end is not None:
            self._judge(int(line[1]))
        elif len(self._answer) > MAX_HEAD or not self._answer.startswith(b"HTTP/1."[: len(self._answer)]):
            self.opened.set_exception(NotHTTPError())

    def _judge(self, status: int) -> None:
        if 200 <= status < 300:
            self.opened.set_result(None)
        else:
            self.opened.set_exception(ProxyRefusedError(status))

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        if not self.opened.done():
            self.opened.set_exception(ConnectionEndedError(is_untouched=True))
