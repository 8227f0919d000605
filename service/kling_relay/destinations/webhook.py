"""POSTs to subscribers: every address is judged as its socket is made, redirects are answers, reading has bounds.

Names are resolved just before dialling, and only the address dialled counts: whatever a URL or a DNS answer hides,
no socket is made for it. An attempt ends in an `SubscriberResponse`, never in an exception.
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

from kling_relay.core.address import Allowed
from kling_relay.core.delivery import SubscriberResponse
from kling_relay.core.untrusted import retry_after_seconds

MAX_KEPT = 16 * 1024
"""Bytes of an answer that are kept; what comes after is dropped, with the connection if it is not there yet."""
_MAX_HEADERS = 100
_MAX_HEADER = 8190
_LOOKUPS = 64
_HEADERS = {"User-Agent": "kling-relay", "Content-Type": "application/json", "Accept-Encoding": "identity"}
# (family, type, protocol, canonical name, socket address), as getaddrinfo has it
_AddressInfo = tuple[int, int, int, str, tuple[Any, ...]]


class BlockedAddressError(OSError):
    """The address is neither public nor in RELAY_ALLOWED_NETWORKS. It is not named: that would map our network."""

    def __init__(self) -> None:
        super().__init__(EACCES, "the address may not be dialled")


class BlockedPortError(OSError):
    """The port is none of RELAY_ALLOWED_PORTS."""

    def __init__(self) -> None:
        super().__init__(EACCES, "the port may not be dialled")


class WebhookClient:
    """The client that all attempts share. Start it inside the event loop that uses it; times are in seconds."""

    def __init__(
        self,
        *,
        allowed: Allowed,
        timeout: float = 15.0,
        limit_per_host: int = 0,
        keepalive: float = 4.0,
        dns_ttl: int = 10,
        resolver: AbstractResolver | None = None,
    ) -> None:
        """`timeout` is for a whole attempt, the answer's body included.

        `keepalive` is below the five seconds after which common servers hang up, so that an attempt seldom meets a
        connection that is just dying; `limit_per_host` 0 is no limit, since deliveries are limited per subscription.
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
                resolver=self._resolver or Names(),
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
        """POST `body` and return what came of it; raises nothing but `CancelledError`."""
        if self._session is None or self._loop is None:
            raise RuntimeError("the endpoint is not started")
        began = self._loop.time()
        try:
            async with self._session.post(_url(url), data=body, headers=headers, allow_redirects=False) as response:
                kept = await _kept(response)
                wait = response.headers.get("Retry-After")
                return SubscriberResponse(
                    status=response.status,
                    error=None,
                    retry_after=None if wait is None else retry_after_seconds(wait, now),
                    body=kept,
                    latency=self._loop.time() - began,
                )
        except Exception as fault:  # noqa: BLE001 - whatever a stranger's server brings about is an answer to record
            return SubscriberResponse(
                status=None, error=_says(fault), retry_after=None, body=b"", latency=self._loop.time() - began
            )

    def _guard(self, info: _AddressInfo) -> socket.socket:
        """Make the socket for an address that may be dialled; for any other there is none."""
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


class Names(AbstractResolver):
    """The system's resolver in threads of its own.

    The event loop's few threads are not shared with it, or a handful of names that nobody answers for would hold up
    everything else; daemons, because a look-up cannot be cancelled and must not keep the process from ending.
    """

    def __init__(self) -> None:
        self._slots = asyncio.Semaphore(_LOOKUPS)

    @override
    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Return every address of `host`; raise `OSError` where there is none."""
        loop = asyncio.get_running_loop()
        found: asyncio.Future[list[ResolveResult]] = loop.create_future()
        async with self._slots:
            Thread(target=_look_up, args=(loop, found, host, port, family), daemon=True).start()
            return await found

    @override
    async def close(self) -> None:
        """Nothing is held."""


def _look_up(
    loop: asyncio.AbstractEventLoop,
    found: "asyncio.Future[list[ResolveResult]]",
    host: str,
    port: int,
    family: socket.AddressFamily,
) -> None:
    addresses: list[ResolveResult] = []
    fault: OSError | None = None
    flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
    try:
        found_here = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
        for kind, _, protocol, _, address in found_here:
            numeric = str(address[0])
            addresses.append(
                ResolveResult(hostname=host, host=numeric, port=port, family=kind, proto=protocol, flags=flags)
            )
    except OSError as error:
        fault = error
    except UnicodeError:
        fault = socket.gaierror(socket.EAI_NONAME, "not a name")

    def tell() -> None:
        if found.done():
            return
        if fault is not None:
            found.set_exception(fault)
        else:
            found.set_result(addresses)

    with suppress(RuntimeError):  # the loop is closed: nobody waits any more
        loop.call_soon_threadsafe(tell)


@lru_cache(maxsize=8192)
def _url(url: str) -> URL:
    """Return `url` as it was checked and kept: nothing is requoted, and parsed once for all its deliveries."""
    return URL(url, encoded=True)


async def _kept(response: ClientResponse) -> bytes:
    """Return the first 16 KiB of the answer; where it breaks off, what came, since the status has been told."""
    content, kept = response.content, b""
    if content.is_eof() and content.exception() is None:  # short answers come whole, with their head
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


_WORDS: tuple[tuple[type[Exception], str], ...] = (
    (ConnectionTimeoutError, "timeout: no connection"),
    (TimeoutError, "timeout"),
    (ClientSSLError, "tls: no secure connection"),
    (ClientConnectorDNSError, "dns: the name cannot be resolved"),
    (BlockedAddressError, "blocked: the address is neither public nor allowed"),
    (BlockedPortError, "blocked: the port is not allowed"),
    (ConnectionRefusedError, "refused"),
    (ConnectionResetError, "reset: the connection broke"),
    (ServerDisconnectedError, "reset: the connection ended without an answer"),
    (ClientOSError, "reset: the connection broke"),
    (InvalidURL, "protocol: not an address that can be dialled"),
)
"""The first that fits counts: what is special stands before what is general."""


def _says(fault: Exception) -> str:
    """Return the word for a fault, and a detail that comes from the URL or the protocol, never from a look-up."""
    if isinstance(fault, ClientConnectorCertificateError):
        return f"tls: {getattr(fault.certificate_error, 'verify_message', '')[:200]}"
    cause: Exception = fault
    if isinstance(fault, ClientConnectorError) and not isinstance(fault, ClientConnectorDNSError | ClientSSLError):
        cause = fault.os_error
    for kind, words in _WORDS:
        if isinstance(cause, kind):
            return words
    if isinstance(cause, OSError):
        return f"unreachable: {errorcode.get(cause.errno or 0, 'no connection')}"
    return f"protocol: {type(cause).__name__}"
