"""One HTTP request and its answer. Every failure is a RelayError.

A request is repeated if that is safe (it reads, or has an Idempotency-Key) and may help (no connection, 429, 503).
"""

import asyncio
import os
import ssl
from collections.abc import Callable, Mapping
from json import JSONDecodeError, loads
from types import TracebackType
from typing import Any, Self

import aiohttp

from kling_relay.client.errors import (
    RateLimitedError,
    RelayError,
    UnavailableError,
    UnexpectedAnswerError,
    UnreachableError,
    error_of,
)

FIRST_PAUSE = 0.25
"""Seconds before the first retry, doubled before each further one; the jitter shortens them by up to half."""
MAX_PAUSE = 15.0
CONNECTION_ERRORS = (aiohttp.ClientError, ConnectionError, TimeoutError, OSError)


class Transport:
    """A session with one service. The first request opens it, `close` closes it."""

    def __init__(self, url: str, key: str | None, *, timeout: float, retries: int, jitter: Callable[[], float]) -> None:
        self.url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._timeout = timeout
        self._retries = retries
        self._jitter = jitter
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections. The next request opens new ones."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def session(self) -> aiohttp.ClientSession:
        """Return the session, which sends the key. It is opened in the running loop if needed."""
        if self._session is None:
            self._session = aiohttp.ClientSession(headers=self._headers, auto_decompress=True)
        return self._session

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - aiohttp's own timeout
    ) -> Any:
        """Return the JSON of a successful answer, or None if it is empty. `timeout` limits one try."""
        can_repeat = method == "GET" or "Idempotency-Key" in (headers or {})
        options: dict[str, Any] = {
            "params": query_string(query or {}),
            "json": body,
            "headers": headers,
            "timeout": aiohttp.ClientTimeout(total=timeout or self._timeout),
        }
        for number in range(self._retries if can_repeat else 0):
            try:
                return await self._send(method, path, options)
            except (UnreachableError, RateLimitedError, UnavailableError) as error:
                retry_after = getattr(error, "retry_after", None)
                if retry_after is not None and retry_after > MAX_PAUSE:
                    raise  # too long to wait here: the caller decides
                await asyncio.sleep(max(retry_after or 0.0, self.pause(number)))
        return await self._send(method, path, options)

    def pause(self, number: int) -> float:
        """Return the seconds to wait before retry `number` (from 0)."""
        return float(min(FIRST_PAUSE * 2 ** min(number, 10), MAX_PAUSE)) * (1 - self._jitter() / 2)

    async def _send(self, method: str, path: str, options: Mapping[str, Any]) -> Any:
        try:
            async with self.session().request(method, self.url + path, allow_redirects=False, **options) as response:
                content = await response.read()
        except CONNECTION_ERRORS as error:
            raise _with_advice_on_orders(connection_error(self.url, error), options["headers"]) from error
        if not 200 <= response.status < 300:
            raise _with_advice_on_orders(error_of(response.status, response.headers, content), options["headers"])
        return _parse(content)


def _with_advice_on_orders(error: RelayError, headers: Mapping[str, str] | None) -> RelayError:
    """Return the error; if the request was an order that may be sent again, its advice says so."""
    if "Idempotency-Key" in (headers or {}) and isinstance(error, UnreachableError | UnavailableError):
        error.advice = f"{error.advice} An order is safe to repeat with the same idempotency_key."
    return error


def query_string(query: Mapping[str, Any]) -> dict[str, str]:
    """Return the parameters that are not empty as text, lists joined by commas."""
    return {
        name: ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
        for name, value in query.items()
        if value is not None and value not in ("", [], ())
    }


def connection_error(url: str, error: Exception) -> RelayError:
    """Return the exception for a connection that failed or broke."""
    if isinstance(error, aiohttp.InvalidURL | aiohttp.NonHttpUrlClientError):
        return UnexpectedAnswerError(f"{url} is not an HTTP address.")
    return UnreachableError(f"No answer from {url}: {_reason(error)}")


def _reason(error: Exception) -> str:
    match error:
        case TimeoutError():
            return "timed out"
        case aiohttp.ClientConnectorCertificateError():
            return _tls_reason(error.certificate_error)
        case aiohttp.ClientConnectorError() if isinstance(error.os_error, ssl.SSLError):
            return _tls_reason(error.os_error)  # its errno is not of the operating system
        case aiohttp.ClientConnectorError():
            number = error.os_error.errno or 0  # a number below 0 is the resolver's, with its own text
            return os.strerror(number) if number > 0 else error.os_error.strerror or str(error.os_error)
        case ssl.SSLError():
            return _tls_reason(error)
        case _:
            return str(error) or type(error).__name__


def _tls_reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not valid ({error.verify_message})"
    reason = getattr(error, "reason", None)
    if reason in {"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE"}:
        return "it does not speak TLS; is the address http:// instead of https://?"
    return f"TLS failed ({(reason or str(error)).replace('_', ' ').lower()})"


def _parse(content: bytes) -> Any:
    if not content.strip():
        return None
    try:
        return loads(content)
    except (JSONDecodeError, UnicodeDecodeError):
        raise UnexpectedAnswerError("The answer is a success, but not JSON.") from None
