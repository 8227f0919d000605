"""One request and its answer over HTTP, repeated where repeating is safe and helps; every failure is a RelayError.

What is safe: reading, and whatever carries an Idempotency-Key. What helps: no connection, 429, 502 by a proxy, 503.
"""

import asyncio
import os
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
    refusal,
)

FIRST_PAUSE = 0.25
"""Seconds before the first repetition, doubled before each further one; chance shortens them by up to half."""
MAX_PAUSE = 15.0
BROKEN = (aiohttp.ClientError, ConnectionError, TimeoutError, OSError)


class Transport:
    """A session with one service; opened by its first request, closed by `close`."""

    def __init__(self, url: str, key: str | None, *, seconds: float, repeats: int, chance: Callable[[], float]) -> None:
        self.url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._seconds = seconds
        self._repeats = repeats
        self._chance = chance
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections; a request after this opens new ones."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def session(self) -> aiohttp.ClientSession:
        """Return the session that carries the key, opened in the running loop if need be."""
        if self._session is None:
            self._session = aiohttp.ClientSession(headers=self._headers, auto_decompress=True)
        return self._session

    async def ask(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        seconds: float | None = None,
    ) -> Any:
        """Return the JSON of a good answer, None where it has none; `seconds` for one try. Raises RelayError."""
        can_repeat = method == "GET" or "Idempotency-Key" in (headers or {})
        wishes: dict[str, Any] = {
            "params": flat(query or {}),
            "json": body,
            "headers": headers,
            "timeout": aiohttp.ClientTimeout(total=seconds or self._seconds),
        }
        for number in range(self._repeats if can_repeat else 0):
            try:
                return await self._once(method, path, wishes)
            except (UnreachableError, RateLimitedError, UnavailableError) as error:
                asked = getattr(error, "retry_after", None)
                if asked is not None and asked > MAX_PAUSE:
                    raise  # the caller knows better than we what to do with so much time
                await asyncio.sleep(max(asked or 0.0, self.pause(number)))
        return await self._once(method, path, wishes)

    def pause(self, number: int) -> float:
        """Return the seconds to wait before repetition `number` (from 0)."""
        return float(min(FIRST_PAUSE * 2 ** min(number, 10), MAX_PAUSE)) * (1 - self._chance() / 2)

    async def _once(self, method: str, path: str, wishes: Mapping[str, Any]) -> Any:
        try:
            async with self.session().request(method, self.url + path, allow_redirects=False, **wishes) as answer:
                content = await answer.read()
        except BROKEN as error:
            raise unreachable(self.url, error) from error
        if not 200 <= answer.status < 300:
            raise refusal(answer.status, answer.headers, content)
        return _value(content)


def flat(query: Mapping[str, Any]) -> dict[str, str]:
    """Return the members that say something as text; lists with commas."""
    return {
        name: ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
        for name, value in query.items()
        if value is not None and value not in ("", [], ())
    }


def unreachable(url: str, error: Exception) -> RelayError:
    """Return the exception for a connection that was not made or broke."""
    if isinstance(error, aiohttp.InvalidURL | aiohttp.NonHttpUrlClientError):
        return UnexpectedAnswerError(f"{url} is no address of HTTP.")
    return UnreachableError(f"No answer from {url}: {_why(error)}")


def _why(error: Exception) -> str:
    match error:
        case TimeoutError():
            return "it took too long"
        case aiohttp.ClientConnectorError():
            number = error.os_error.errno or 0  # below 0 it is the resolver's, whose words are good
            return os.strerror(number) if number > 0 else error.os_error.strerror or str(error.os_error)
        case _:
            return str(error) or type(error).__name__


def _value(content: bytes) -> Any:
    if not content.strip():
        return None
    try:
        return loads(content)
    except (JSONDecodeError, UnicodeDecodeError):
        raise UnexpectedAnswerError("The answer is no JSON, though it says that all is well.") from None
