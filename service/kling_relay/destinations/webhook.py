"""POSTs to subscribers. An attempt ends in a `SubscriberResponse`, not an exception, and redirects are not followed.

`http_client` resolves, judges and connects. The texts of errors are for the subscriber's owner: they come from the URL
or the protocol, never from a look-up, and name no class of ours.
"""

import asyncio
import socket
import ssl
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from errno import EAGAIN, errorcode
from threading import Thread
from types import TracebackType
from typing import Self

from aiohttp.abc import AbstractResolver, ResolveResult
from typing_extensions import override

from kling_relay.core.address import DialPolicy
from kling_relay.core.delivery import SubscriberResponse
from kling_relay.core.untrusted import retry_after_seconds
from kling_relay.outbound.http_client import (
    BlockedAddressError,
    BlockedPortError,
    HTTPClient,
    UnresolvedNameError,
)
from kling_relay.outbound.http_connection import ConnectionEndedError, NotHTTPError
from kling_relay.outbound.target import InvalidRequestError

MAX_KEPT = 16 * 1024
"""Bytes of a response's body that are kept. The rest is not read, and the connection is closed."""
_HEADERS = {
    "User-Agent": "kling-relay",
    "Accept": "*/*",
    "Accept-Encoding": "identity",
    "Content-Type": "application/json",
}


class WebhookClient:
    """The HTTP client of all attempts. Start it inside the event loop that uses it; times are in seconds."""

    def __init__(
        self,
        *,
        allowed: DialPolicy,
        timeout: float = 15.0,
        keepalive: float = 4.0,
        dns_ttl: float = 10.0,
        max_lookups: int = 800,
        resolver: AbstractResolver | None = None,
    ) -> None:
        """`timeout` is for a whole attempt, including the body of the response. See HTTPClient for the others.

        `max_lookups` bounds the threads that look up names.
        """
        self._http = HTTPClient(
            allowed=allowed,
            resolver=resolver or GuardedResolver(max_lookups),
            timeout=timeout,
            max_body=MAX_KEPT,
            keepalive=keepalive,
            dns_ttl=dns_ttl,
            headers=_HEADERS,
        )
        self._loop: asyncio.AbstractEventLoop | None = None

    async def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._http.start()

    async def stop(self) -> None:
        await self._http.stop()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def post(self, url: str, headers: Mapping[str, str], body: bytes, now: datetime) -> SubscriberResponse:
        """POST `body` and return the response or why there is none. Raises nothing but `CancelledError`."""
        if self._loop is None:
            raise RuntimeError("the webhook client is not started")
        began = self._loop.time()
        try:
            response = await self._http.post(url, headers, body)
        except Exception as fault:  # noqa: BLE001 - whatever a subscriber's server causes must be recorded
            return SubscriberResponse(
                status=None, error=_describe(fault), retry_after=None, body=b"", latency=self._loop.time() - began
            )
        wait = response.retry_after
        return SubscriberResponse(
            status=response.status,
            error=None,
            retry_after=None if wait is None else retry_after_seconds(wait, now),
            body=response.body,
            latency=self._loop.time() - began,
        )


class GuardedResolver(AbstractResolver):
    """The system's resolver, in a thread for each look-up, so that names without an answer delay no others (ADR 16).

    The threads are daemons, because a look-up cannot be cancelled and must not keep the process alive. An attempt
    that ends leaves its look-up behind, to be shared by the next attempt for the same name. `max_lookups` bounds the
    threads with those: a new look-up beyond it waits. The fair shares of the attempts are also those of look-ups.
    """

    def __init__(self, max_lookups: int = 800) -> None:
        self._slots = asyncio.Semaphore(max_lookups)

    @override
    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Return every address of `host`. Raises OSError if it has none."""
        loop = asyncio.get_running_loop()
        result: asyncio.Future[list[ResolveResult]] = loop.create_future()
        async with self._slots:
            try:
                Thread(target=_look_up, args=(loop, result, host, port, family), daemon=True).start()
            except RuntimeError:
                raise OSError(EAGAIN, "the system starts no more threads") from None
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


_ERRORS: tuple[tuple[type[Exception], str], ...] = (
    (UnresolvedNameError, "dns: the name cannot be resolved"),
    (BlockedAddressError, "blocked: the address is neither public nor allowed"),
    (BlockedPortError, "blocked: the port is not allowed"),
    (TimeoutError, "timeout"),
    (ConnectionRefusedError, "refused"),
    (ConnectionEndedError, "reset: the connection ended without a response"),
    (ConnectionError, "reset: the connection broke"),
    (ssl.SSLError, "tls: the handshake failed"),
    (InvalidRequestError, "protocol: the URL is not valid"),
    (NotHTTPError, "protocol: the response is not HTTP, or its head is too long"),
)
"""The first match counts, so specific errors stand before general ones."""


def _describe(fault: Exception) -> str:
    """Return the class of an error and a detail."""
    if isinstance(fault, ssl.SSLCertVerificationError):
        return f"tls: {fault.verify_message[:200]}"
    for kind, text in _ERRORS:
        if isinstance(fault, kind):
            return text
    if isinstance(fault, OSError):
        return f"unreachable: {errorcode.get(fault.errno or 0, 'no connection')}"
    return "protocol: the request failed"
