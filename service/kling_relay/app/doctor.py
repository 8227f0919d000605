"""Looks at everything that a service needs, and says of each what it found and what to do; changes nothing."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine
from datetime import datetime
from email.utils import parsedate_to_datetime

import aiohttp

from kling_relay.app import clock as sources
from kling_relay.app.doctor_database import look_inside
from kling_relay.app.doctor_finding import CheckState, Finding, clock
from kling_relay.provider.dialects import DIALECTS, credential
from kling_relay.settings import Settings, risks

PATIENCE = 10.0
"""Seconds that one look may take."""
_NOWHERE = uuid.UUID(int=0)


async def examine(settings: Settings) -> AsyncIterator[Finding]:
    """Yield what is found, the nearest first; what a look raises is a finding too."""
    yield Finding("settings", CheckState.GOOD, "all can be read")
    for risk in risks(settings):
        yield Finding("settings", CheckState.POOR, risk)
    async for found in look_inside(settings, PATIENCE):
        yield found
    for found in await _guarded(
        "provider", "Check RELAY_PROVIDER_URL; may this machine reach it?", _provider, settings
    ):
        yield found
    for found in await _guarded("service", "See its log.", _service, settings):
        yield found
    advice = "RELAY_PUBLIC_URL must lead to this service, from outside and from here."
    for found in await _guarded("public address", advice, _public, settings):
        yield found


async def _guarded(
    about: str, advice: str, look: Callable[[Settings], Coroutine[None, None, list[Finding]]], settings: Settings
) -> list[Finding]:
    try:
        async with asyncio.timeout(PATIENCE):
            return await look(settings)
    except TimeoutError:
        return [Finding(about, CheckState.BAD, f"no answer within {PATIENCE:g} s", advice)]
    except (aiohttp.ClientError, OSError, ValueError) as error:
        return [Finding(about, CheckState.BAD, _says(error), advice)]


def _says(error: Exception) -> str:
    match error:
        case aiohttp.ClientConnectorDNSError():
            return f"the name {error.host} cannot be resolved here"
        case aiohttp.ClientConnectorCertificateError():
            return f"{error.host} shows a certificate that does not hold: {error.certificate_error}"
        case aiohttp.ClientConnectorError() if isinstance(error.os_error, ConnectionRefusedError):
            return f"nothing listens at {error.host}:{error.port}"
        case aiohttp.ClientConnectorError():
            return f"{error.host}:{error.port} cannot be reached: {error.os_error.strerror}"
        case _:
            return str(error) or type(error).__name__


async def _provider(settings: Settings) -> list[Finding]:
    """Ask the provider for a page of tasks, which costs nothing."""
    if settings.provider_url is None or settings.provider_key is None:
        advice = "For real pictures, or for `api` and `worker` apart, set RELAY_PROVIDER_URL."
        return [Finding("provider", CheckState.POOR, "the sandbox, in process", advice)]
    dialect = DIALECTS[settings.provider_dialect]
    key = credential(dialect, settings.provider_key.get_secret_value())
    url = f"{settings.provider_url.rstrip('/')}{dialect.prefix}/v1/videos/text2video?pageNum=1&pageSize=1"
    asked_at = sources.now()
    async with (
        aiohttp.ClientSession() as session,
        session.get(url, headers={"Authorization": key.authorization(asked_at)}, allow_redirects=False) as answer,
    ):
        status, said_at = answer.status, answer.headers.get("Date")
    found = [_of_status(status, settings.provider_url)]
    if said_at and (apart := _apart(said_at, asked_at)) > 5:  # the header is in whole seconds, and took its time
        found.append(clock("the provider", apart))
    return found


def _of_status(status: int, url: str) -> Finding:
    if status in {401, 403}:
        return Finding(
            "provider", CheckState.BAD, f"refuses our key ({status})", "Check RELAY_PROVIDER_KEY and its dialect."
        )
    if 300 <= status < 400:
        return Finding(
            "provider", CheckState.BAD, f"sends us elsewhere ({status})", "Give RELAY_PROVIDER_URL as it is now."
        )
    if status >= 500 or status == 429:
        return Finding(
            "provider", CheckState.POOR, f"is there, but answers {status}", "It may pass; orders wait for it."
        )
    return Finding("provider", CheckState.GOOD, f"answers {status} at {url}")


def _apart(date: str, now: datetime) -> float:
    try:
        return abs((parsedate_to_datetime(date) - now).total_seconds())
    except (ValueError, TypeError):
        return 0.0


async def _service(settings: Settings) -> list[Finding]:
    async with aiohttp.ClientSession() as session:
        try:
            status, _ = await _ask(session, "GET", f"{settings.service_url}/readyz")
        except aiohttp.ClientConnectorError:
            says = f"nothing listens at {settings.service_url}"
            return [
                Finding("service", CheckState.POOR, says, "Start it: `kling-relay up`; where it runs, say RELAY_URL.")
            ]
    if status == 200:
        return [Finding("service", CheckState.GOOD, f"ready at {settings.service_url}")]
    return [Finding("service", CheckState.BAD, f"{settings.service_url}/readyz answers {status}", "See its log.")]


async def _public(settings: Settings) -> list[Finding]:
    """Go out and come back in, by the front door or by the callbacks' alone, which answers every stranger 404."""
    url = settings.own_url
    async with aiohttp.ClientSession() as session:
        try:
            status, _ = await _ask(session, "GET", f"{url}/livez")
            if status == 200:
                return [Finding("public address", CheckState.GOOD, f"{url} leads to the service")]
            refused, is_ours = await _ask(session, "POST", f"{url}/callbacks/{_NOWHERE}/doctor")
        except aiohttp.ClientConnectorError as error:
            if settings.public_url is not None:
                raise
            return [Finding("public address", CheckState.POOR, _says(error), "Start the service, then look again.")]
    if refused == 404 and is_ours:
        return [
            Finding("public address", CheckState.GOOD, f"{url}/callbacks leads to the service, and nothing else there")
        ]
    advice = "RELAY_PUBLIC_URL must lead to this service, at least below /callbacks."
    detail = f"{url}/livez answers {status}, {url}/callbacks/… is not ours ({refused})"
    return [Finding("public address", CheckState.BAD, detail, advice)]


async def _ask(session: aiohttp.ClientSession, method: str, url: str) -> tuple[int, bool]:
    """Return the answer's status, and whether it carries the mark that all answers of the service do."""
    async with session.request(method, url, allow_redirects=False) as answer:
        return answer.status, "X-Request-Id" in answer.headers
