"""An HTTP/1.1 client for many small requests, at a fifth of the CPU of aiohttp's (docs/adr/0015).

It resolves a name, judges its addresses and connects by itself, so that no other code decides what is dialled. It keeps
connections, and has one timer for all requests. It leaves out HTTP/2, redirects, cookies, compression and streamed
bodies. A long body is written as the other end reads it, and is not copied.
"""

import asyncio
import socket
import ssl
from collections import deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from errno import EACCES
from ipaddress import ip_address
from typing import Any, Protocol

import aiohappyeyeballs

from kling_relay.core.address import DialPolicy
from kling_relay.outbound.http_connection import MAX_WRITE, Connection, ConnectionEndedError, NotHTTPError
from kling_relay.outbound.http_response import HTTPResponse
from kling_relay.outbound.proxy import Proxy, open_tunnel
from kling_relay.outbound.target import InvalidRequestError, Target, read_target

MAX_IDLE_PER_ORIGIN = 256
MAX_IDLE = 1024
MAX_NAMES = 4096
"""Names whose addresses are remembered."""
EYEBALLS_DELAY = 0.25
"""Seconds after which the next address is dialled too (RFC 8305)."""
# (family, type, protocol, canonical name, socket address), as getaddrinfo has it
AddressInfo = tuple[int, int, int, str, tuple[Any, ...]]


class BlockedAddressError(OSError):
    """The address is neither public nor in RELAY_ALLOWED_NETWORKS. The text omits it, or it would map our network."""

    def __init__(self) -> None:
        super().__init__(EACCES, "connections to this address are not allowed")


class BlockedPortError(OSError):
    """The port is not in RELAY_ALLOWED_PORTS."""

    def __init__(self) -> None:
        super().__init__(EACCES, "connections to this port are not allowed")


class UnresolvedNameError(OSError):
    """The name cannot be resolved."""


class Resolver(Protocol):
    """Turns a name into addresses; raises OSError if there are none."""

    async def resolve(self, host: str, port: int, family: socket.AddressFamily) -> Any: ...


class HTTPClient:
    """Makes requests within a time-out. Start it inside the event loop that uses it; times are in seconds."""

    def __init__(
        self,
        *,
        allowed: DialPolicy | None,
        resolver: Resolver,
        timeout: float,
        max_body: int,
        connect_timeout: float | None = None,
        max_requests: int | None = None,
        keepalive: float = 4.0,
        dns_ttl: float = 10.0,
        headers: Mapping[str, str] | None = None,
        proxy: Proxy | None = None,
    ) -> None:
        """`allowed` judges each address that is dialled; None allows all, for URLs that the operator chose.

        `timeout` is for a whole request, dialling and the response's body included; `connect_timeout` for its part
        until a connection is there, a wait for one of `max_requests` at once included. `keepalive` is below the five
        seconds after which common servers hang up, so that a request seldom meets a connection that is just dying.
        `headers` go out with every request that does not set them. `max_body` is in bytes of a response.
        """
        self._allowed = allowed
        self._resolver = resolver
        self._timeout = timeout
        self._max_body = max_body
        self._connect_timeout = connect_timeout
        self._slots = None if max_requests is None else asyncio.Semaphore(max_requests)
        self._proxy = proxy
        self._keepalive = keepalive
        self._dns_ttl = dns_ttl
        self._headers = {name.lower(): f"{name}: {value}\r\n" for name, value in (headers or {}).items()}
        self._all_headers = "".join(self._headers.values())
        self._idle: dict[tuple[str, int, bool], deque[Connection]] = {}
        self._idle_count = 0
        self._open: set[Connection] = set()
        self._names: dict[tuple[str, int], tuple[float, list[AddressInfo]]] = {}
        self._lookups: dict[tuple[str, int], asyncio.Task[list[AddressInfo]]] = {}
        self._tick = max(0.02, timeout / 64)
        self._deadlines: dict[int, set[Connection]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._timer_tick = 0
        self._sweeper: asyncio.TimerHandle | None = None
        self._tls: ssl.SSLContext | None = None
        self._loop: asyncio.AbstractEventLoop
        self._is_started = False
        self._all_closed: asyncio.Future[None] | None = None

    def start(self) -> None:
        """Get ready in the running event loop."""
        self._loop = asyncio.get_running_loop()
        self._tls = ssl.create_default_context()
        self._tls.set_alpn_protocols(["http/1.1"])
        self._is_started = True

    async def stop(self) -> None:
        """Close every connection."""
        self._is_started = False
        for timer in (self._timer, self._sweeper):
            if timer is not None:
                timer.cancel()
        for lookup in self._lookups.values():
            lookup.cancel()
        for connection in list(self._open):
            connection.fail(ConnectionEndedError(is_untouched=False))
        if self._open:
            self._all_closed = self._loop.create_future()
            await self._all_closed

    def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Coroutine[Any, Any, HTTPResponse]:
        """POST `body` and return the response; see `request`. Raises InvalidRequestError for `url`, too."""
        return self.request("POST", read_target(url), headers, (body,), is_repeatable=True)

    async def request(
        self,
        method: str,
        target: Target,
        headers: Mapping[str, str],
        body: Sequence[bytes | memoryview] | None = None,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - one timer serves all requests
        is_repeatable: bool,
        before_write: Callable[[], None] | None = None,
    ) -> HTTPResponse:
        """Send a request with the parts of its body, and return the response.

        `before_write` is called right before each write, that is once for a body of up to 64 KiB. If it raises, that
        is raised here, and nothing more is written. Whatever is raised before its first call, the other end has not
        read a byte of the request. If `is_repeatable`, a request goes out once more, on a fresh connection, if the kept
        one ended before a byte of the response came.

        Raises TimeoutError, OSError (BlockedAddressError, BlockedPortError, ConnectionEndedError, ProxyRefusedError
        and what dialling raises), ssl.SSLError, NotHTTPError, InvalidRequestError.
        """
        if not self._is_started:
            raise RuntimeError("the client is not started")
        request = self._request(method, target, headers, body)
        now = self._loop.time()
        deadline = now + (self._timeout if timeout is None else timeout)
        connect_by = deadline if self._connect_timeout is None else min(deadline, now + self._connect_timeout)
        if self._slots is None:
            return await self._exchange(target, request, deadline, connect_by, is_repeatable, before_write)
        if self._slots.locked():
            async with asyncio.timeout_at(connect_by):
                await self._slots.acquire()
        else:
            await self._slots.acquire()
        try:
            return await self._exchange(target, request, deadline, connect_by, is_repeatable, before_write)
        finally:
            self._slots.release()

    async def _exchange(
        self,
        target: Target,
        request: tuple[bytes, Sequence[bytes | memoryview]],
        deadline: float,
        connect_by: float,
        is_repeatable: bool,
        before_write: Callable[[], None] | None,
    ) -> HTTPResponse:
        key = target[:3]
        connection = self._take(key)
        try:
            if connection is not None:
                try:
                    return await self._send(connection, request, deadline, before_write)
                except (ConnectionEndedError, NotHTTPError) as error:
                    if not (is_repeatable and error.is_untouched):
                        raise
                # the kept connection was dead already: once more on a fresh one
            async with asyncio.timeout_at(connect_by):
                connection = await self._dial(target, key)
            return await self._send(connection, request, deadline, before_write)
        except asyncio.CancelledError:
            if connection is not None:
                connection.close()
            raise

    def _request(
        self, method: str, target: Target, headers: Mapping[str, str], body: Sequence[bytes | memoryview] | None
    ) -> tuple[bytes, Sequence[bytes | memoryview]]:
        """Return the bytes to write first, and the body's parts to write after it if it is long."""
        common = self._all_headers
        if not self._headers.keys().isdisjoint(map(str.lower, headers)):
            own = set(map(str.lower, headers))
            common = "".join(line for name, line in self._headers.items() if name not in own)
        lines = [f"{name}: {value}\r\n" for name, value in headers.items()]
        own_lines = "".join(lines)
        if own_lines.count("\n") != len(lines) or own_lines.count("\r") != len(lines):
            raise InvalidRequestError  # a line break in a header would begin another
        if self._proxy is not None:
            common += self._proxy.header_for(target)
        start = target.rest if self._proxy is None else self._proxy.start_of(target)
        if body is None:
            return f"{method} {start}{common}{own_lines}\r\n".encode(), ()
        size = sum(map(len, body))
        head = f"{method} {start}{common}{own_lines}Content-Length: {size}\r\n\r\n".encode()
        if size <= MAX_WRITE:
            return b"".join((head, *body)), ()
        first = memoryview(body[0])
        return b"".join((head, first[:MAX_WRITE])), [part for part in (first[MAX_WRITE:], *body[1:]) if part]

    def _send(
        self,
        connection: Connection,
        request: tuple[bytes, Sequence[bytes | memoryview]],
        deadline: float,
        before_write: Callable[[], None] | None,
    ) -> "asyncio.Future[HTTPResponse]":
        if before_write is not None:
            self._ask(connection, before_write)
        tick = connection.tick = int(deadline / self._tick) + 1
        bucket = self._deadlines.get(tick)
        if bucket is None:
            bucket = self._deadlines[tick] = set()
            if self._timer is None or tick < self._timer_tick:
                self._set_timer(tick)
        bucket.add(connection)
        return connection.send(*request, before_write)

    def _ask(self, connection: Connection, before_write: Callable[[], None]) -> None:
        """Call `before_write`; if it raises, keep the connection, to which nothing was written."""
        if not connection.is_usable:
            raise ConnectionEndedError(is_untouched=True)
        try:
            before_write()
        except BaseException:
            self.answered(connection, is_reusable=True)
            raise

    # a connection's side

    def answered(self, connection: Connection, *, is_reusable: bool) -> None:
        """Keep a connection for the next request, or close it."""
        if (bucket := self._deadlines.get(connection.tick)) is not None:
            bucket.discard(connection)
        idle = self._idle.get(connection.origin)
        if not is_reusable or not connection.is_usable or not self._is_started or self._idle_count >= MAX_IDLE:
            connection.close()
            return
        if idle is None:
            idle = self._idle[connection.origin] = deque()
        elif len(idle) >= MAX_IDLE_PER_ORIGIN:
            connection.close()
            return
        connection.idle_since = self._loop.time()
        idle.append(connection)
        self._idle_count += 1
        if self._sweeper is None:
            self._sweeper = self._loop.call_later(self._keepalive / 2, self._sweep)

    def ended(self, connection: Connection) -> None:
        """Forget a connection that is closed."""
        self._open.discard(connection)
        if self._all_closed is not None and not self._open and not self._all_closed.done():
            self._all_closed.set_result(None)
        bucket = self._deadlines.get(connection.tick)
        if bucket is not None:
            bucket.discard(connection)
        idle = self._idle.get(connection.origin)
        if idle and connection in idle:
            idle.remove(connection)
            self._idle_count -= 1

    def _take(self, key: tuple[str, int, bool]) -> Connection | None:
        """Return the idle connection that was used last, if one is usable."""
        idle = self._idle.get(key)
        now = self._loop.time() if idle else 0.0
        while idle:
            connection = idle.pop()
            self._idle_count -= 1
            if connection.is_usable and now - connection.idle_since <= self._keepalive:
                return connection
            connection.close()
        return None

    # time

    def _expire(self) -> None:
        """End the requests whose time is over."""
        self._timer = None
        now = int(self._loop.time() / self._tick)
        for tick in [tick for tick in self._deadlines if tick <= now]:
            for connection in self._deadlines.pop(tick):
                connection.fail(TimeoutError())
        if self._deadlines:
            self._set_timer(min(self._deadlines))

    def _set_timer(self, tick: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._timer_tick = self._loop.call_at(tick * self._tick, self._expire), tick

    def _sweep(self) -> None:
        """Close connections that were idle for too long."""
        self._sweeper = None
        before = self._loop.time() - self._keepalive
        for key, idle in list(self._idle.items()):
            while idle and idle[0].idle_since <= before:
                self._idle_count -= 1
                idle.popleft().close()
            if not idle:
                del self._idle[key]
        if self._idle:
            self._sweeper = self._loop.call_later(self._keepalive / 2, self._sweep)

    # dialling

    async def _dial(self, target: Target, key: tuple[str, int, bool]) -> Connection:
        dialled = target if self._proxy is None else self._proxy.target
        if self._allowed is not None and not self._allowed.admits_port(dialled.port):
            raise BlockedPortError
        addresses = [info for info in await self._resolve(dialled) if self._is_admitted(info)]
        if not addresses:
            raise BlockedAddressError
        sock = await aiohappyeyeballs.start_connection(
            addresses, happy_eyeballs_delay=EYEBALLS_DELAY, interleave=1, socket_factory=self._socket
        )
        connection = Connection(self._loop, self, key, self._max_body)
        try:
            if self._proxy is not None and target.is_tls and self._tls is not None:
                await open_tunnel(self._proxy, target, sock, self._tls, connection)
            else:
                await self._loop.create_connection(
                    lambda: connection,
                    sock=sock,
                    ssl=self._tls if dialled.is_tls else None,
                    server_hostname=dialled.host if dialled.is_tls else None,
                )
        except BaseException:
            sock.close()
            raise
        self._open.add(connection)
        return connection

    async def _resolve(self, target: Target) -> list[AddressInfo]:
        host, port = target.host, target.port
        try:
            literal = ip_address(host)
        except ValueError:
            pass
        else:
            family = socket.AF_INET if literal.version == 4 else socket.AF_INET6
            return [(family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", _socket_address(str(literal), port, family))]
        known = self._names.get((host, port))
        if known is not None and known[0] > self._loop.time():
            return known[1]
        lookup = self._lookups.get((host, port))
        if lookup is None:  # all requests that wait for a name share one look-up
            lookup = self._lookups[host, port] = self._loop.create_task(self._look_up(host, port))
            lookup.add_done_callback(self._looked_up)
        return await asyncio.shield(lookup)

    async def _look_up(self, host: str, port: int) -> list[AddressInfo]:
        try:
            answers = await self._resolver.resolve(host, port, socket.AF_UNSPEC)
        except OSError:
            raise UnresolvedNameError from None
        finally:
            del self._lookups[host, port]
        addresses: list[AddressInfo] = [
            (
                answer["family"],
                socket.SOCK_STREAM,
                socket.IPPROTO_TCP,
                "",
                _socket_address(answer["host"], port, answer["family"]),
            )
            for answer in answers
        ]
        if self._dns_ttl > 0:
            if len(self._names) >= MAX_NAMES:
                self._names.clear()
            self._names[host, port] = (self._loop.time() + self._dns_ttl, addresses)
        return addresses

    @staticmethod
    def _looked_up(lookup: "asyncio.Task[list[AddressInfo]]") -> None:
        if not lookup.cancelled():
            lookup.exception()  # requests that gave up leave nothing unheard

    def _is_admitted(self, info: AddressInfo) -> bool:
        family, _, _, _, address = info
        try:
            return family in {socket.AF_INET, socket.AF_INET6} and (
                self._allowed is None or self._allowed.admits(ip_address(address[0]))
            )
        except ValueError:
            return False

    def _socket(self, info: AddressInfo) -> socket.socket:
        """Make the socket for an address. It is judged here once more, so that no path leads around the check."""
        if not self._is_admitted(info):
            raise BlockedAddressError
        return socket.socket(info[0], info[1], info[2])


def _socket_address(host: str, port: int, family: int) -> tuple[Any, ...]:
    return (host, port) if family == socket.AF_INET else (host, port, 0, 0)
