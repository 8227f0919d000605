"""POSTs to subscribers. An address is checked when its socket is made, redirects are not followed, reads are bounded.

A name is resolved just before the connection, and only the address that we connect to counts. Whatever a URL or a DNS
answer hides, no socket is made for a forbidden address. An attempt ends in a `SubscriberResponse`, not an exception.
"""

import asyncio
import socket
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from errno import EACCES, errorcode
from functools import lru_cache
from ipaddress import ip_address
from threading import Thread
from types import TracebackType
from typing import Any, Self

from aiohttp import (
    ClientConnectorCertificateError,
    ClientConnectorDNSError,
    ClientConnectorError,
    ClientOSError,
    ClientPayloadError,
    ClientResponse,
    ClientSession,
    ClientSSLError,
    ClientTimeout,
    ConnectionTimeoutError,
    DummyCookieJar,
    InvalidURL,
    ServerDisconnectedError,
    TCPConnector,
)
from aiohttp.abc import AbstractResolver, ResolveResult
from typing_extensions import override
from yarl import URL

from kling_relay.core.address import DialPolicy
from kling_relay.core.delivery import SubscriberResponse
from kling_relay.core.untrusted import retry_after_seconds

MAX_KEPT = 16 * 1024
"""Bytes of a response that are kept. The rest is dropped, and so is the connection if the rest is still coming."""
_MAX_HEADERS = 100
_MAX_HEADER = 8190
_LOOKUPS = 64
_HEADERS = {"User-Agent": "kling-relay", "Content-Type": "application/json", "Accept-Encoding": "identity"}
# (family, type, protocol, canonical name, socket address), as getaddrinfo has it
_AddressInfo = tuple[int, int, int, str, tuple[Any, ...]]


class BlockedAddressError(OSError):
    """The address is neither public nor in RELAY_ALLOWED_NETWORKS. The text omits it, or it would map our network."""

    def __init__(self) -> None:
        super().__init__(EACCES, "connections to this address are not allowed")


class BlockedPortError(OSError):
    """The port is not in RELAY_ALLOWED_PORTS."""

    def __init__(self) -> None:
        super().__init__(EACCES, "connections to this port are not allowed")


class WebhookClient:
    """The HTTP client of all attempts. Start it inside the event loop that uses it; times are in seconds."""

    def __init__(
        self,
        *,
        allowed: DialPolicy,
        timeout: float = 15.0,
        limit_per_host: int = 0,
        keepalive: float = 4.0,
        dns_ttl: int = 10,
        resolver: AbstractResolver | None = None,
    ) -> None:
        """`timeout` is for a whole attempt, including the body of the response.

        `keepalive` is below the five seconds after which common servers close connections, so that an attempt seldom
        uses one that is just being closed. `limit_per_host` 0 means no limit: deliveries are limited by subscription.
        """
        self._allowed = allowed
        self._timeout = ClientTimeout(total=timeout)
        self._limit_per_host = limit_per_host
        self._keepalive = keepalive
        self._dns_ttl = dns_ttl
        self._resolver = resolver
        self._session: ClientSession | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._session = ClientSession(
            connector=TCPConnector(
                limit=0,
                limit_per_host=self._limit_per_host,
                keepalive_timeout=self._keepalive,
                ttl_dns_cache=self._dns_ttl,
                use_dns_cache=self._dns_ttl > 0,
                resolver=self._resolver or GuardedResolver(),
                socket_factory=self._guard,
            ),
            cookie_jar=DummyCookieJar(),
            headers=_HEADERS,
            timeout=self._timeout,
            trust_env=False,
            auto_decompress=False,
            read_bufsize=MAX_KEPT,
            max_line_size=_MAX_HEADER,
            max_field_size=_MAX_HEADER,
            max_headers=_MAX_HEADERS,
        )

    async def stop(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def post(self, url: str, headers: Mapping[str, str], body: bytes, now: datetime) -> SubscriberResponse:
        """POST `body` and return the response or why there is none. Raises nothing but `CancelledError`."""
        if self._session is None or self._loop is None:
            raise RuntimeError("the webhook client is not started")
        began = self._loop.time()
        try:
            async with self._session.post(_url(url), data=body, headers=headers, allow_redirects=False) as response:
                kept = await _read_start(response)
                wait = response.headers.get("Retry-After")
                return SubscriberResponse(
                    status=response.status,
                    error=None,
                    retry_after=None if wait is None else retry_after_seconds(wait, now),
                    body=kept,
                    latency=self._loop.time() - began,
                )
        except Exception as fault:  # noqa: BLE001 - whatever a subscriber's server causes must be recorded
            return SubscriberResponse(
                status=None, error=_describe(fault), retry_after=None, body=b"", latency=self._loop.time() - began
            )

    def _guard(self, info: _AddressInfo) -> socket.socket:
        """Return a socket for an allowed address. Raises BlockedAddressError or BlockedPortError for any other."""
        family, kind, protocol, _, address = info
        try:
            admitted = self._allowed.admits(ip_address(address[0]))
        except ValueError:
            admitted = False
        if not admitted or family not in {socket.AF_INET, socket.AF_INET6}:
            raise BlockedAddressError
        if not self._allowed.admits_port(address[1]):
            raise BlockedPortError
        return socket.socket(family, kind, protocol)


class GuardedResolver(AbstractResolver):
    """The system's resolver in threads of its own.

    In the event loop's few threads a handful of names without an answer would block everything else. The threads are
    daemons, because a look-up cannot be cancelled and must not keep the process alive.
    """

    def __init__(self) -> None:
        self._slots = asyncio.Semaphore(_LOOKUPS)

    @override
    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Return every address of `host`. Raises OSError if it has none."""
        loop = asyncio.get_running_loop()
        result: asyncio.Future[list[ResolveResult]] = loop.create_future()
        async with self._slots:
            Thread(target=_look_up, args=(loop, result, host, port, family), daemon=True).start()
            return await result

    @override
    async def close(self) -> None:
        """Nothing has to be closed."""


def _look_up(
    loop: asyncio.AbstractEventLoop,
    result: "asyncio.Future[list[ResolveResult]]",
    host: str,
    port: int,
    family: socket.AddressFamily,
) -> None:
    addresses: list[ResolveResult] = []
    fault: OSError | None = None
    flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
    try:
        infos = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
        for kind, _, protocol, _, address in infos:
            numeric = str(address[0])
            addresses.append(
                ResolveResult(hostname=host, host=numeric, port=port, family=kind, proto=protocol, flags=flags)
            )
    except OSError as error:
        fault = error
    except UnicodeError:
        fault = socket.gaierror(socket.EAI_NONAME, "not a host name")

    def set_result() -> None:
        if result.done():
            return
        if fault is not None:
            result.set_exception(fault)
        else:
            result.set_result(addresses)

    with suppress(RuntimeError):  # the loop is closed, so nobody waits any more
        loop.call_soon_threadsafe(set_result)


@lru_cache(maxsize=8192)
def _url(url: str) -> URL:
    """Return `url` parsed, without quoting it again. Cached, because a subscription has many deliveries."""
    return URL(url, encoded=True)


async def _read_start(response: ClientResponse) -> bytes:
    """Return the first 16 KiB of the body. If it breaks off, return what came, because the status is what counts."""
    content, kept = response.content, b""
    if content.is_eof() and content.exception() is None:  # a short body arrives together with the headers
        return content.read_nowait()[:MAX_KEPT]
    try:
        while len(kept) < MAX_KEPT:
            part = await content.read(MAX_KEPT - len(kept))
            if not part:
                return kept
            kept += part
        content.read_nowait()
    except (ClientPayloadError, ClientOSError, ServerDisconnectedError):
        pass
    if not content.at_eof():
        response.close()
    return kept


_ERRORS: tuple[tuple[type[Exception], str], ...] = (
    (ConnectionTimeoutError, "timeout: no connection"),
    (TimeoutError, "timeout"),
    (ClientSSLError, "tls: the handshake failed"),
    (ClientConnectorDNSError, "dns: the name cannot be resolved"),
    (BlockedAddressError, "blocked: the address is neither public nor allowed"),
    (BlockedPortError, "blocked: the port is not allowed"),
    (ConnectionRefusedError, "refused"),
    (ConnectionResetError, "reset: the connection broke"),
    (ServerDisconnectedError, "reset: the connection ended without a response"),
    (ClientOSError, "reset: the connection broke"),
    (InvalidURL, "protocol: the URL is not valid"),
)
"""The first match counts, so specific errors stand before general ones."""


def _describe(fault: Exception) -> str:
    """Return the class of an error and a detail, which comes from the URL or the protocol, never from a look-up."""
    if isinstance(fault, ClientConnectorCertificateError):
        return f"tls: {getattr(fault.certificate_error, 'verify_message', '')[:200]}"
    cause: Exception = fault
    if isinstance(fault, ClientConnectorError) and not isinstance(fault, ClientConnectorDNSError | ClientSSLError):
        cause = fault.os_error
    for kind, text in _ERRORS:
        if isinstance(cause, kind):
            return text
    if isinstance(cause, OSError):
        return f"unreachable: {errorcode.get(cause.errno or 0, 'no connection')}"
    return f"protocol: {type(cause).__name__}"
