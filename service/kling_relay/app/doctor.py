"""The doctor checks everything that a service needs. Every finding has advice; the doctor changes nothing."""

import asyncio
import ssl
import uuid
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from datetime import datetime
from email.utils import parsedate_to_datetime

import aiohttp

from kling_relay.app import clock
from kling_relay.app.database_errors import tls_reason
from kling_relay.app.doctor_database import check_database
from kling_relay.app.doctor_finding import CheckState, Finding, clock_finding
from kling_relay.provider.dialects import DIALECTS, credential
from kling_relay.settings import Settings, provider_proxy, risks

CHECK_TIMEOUT = 10.0
"""Seconds that one check may take."""
_NO_TASK = uuid.UUID(int=0)


async def examine(settings: Settings) -> AsyncGenerator[Finding, None]:
    """Yield every finding, those about this machine first. An exception in a check is a finding too."""
    yield Finding("settings", CheckState.OK, "all settings are valid")
    for risk in risks(settings):
        yield Finding("settings", CheckState.WARNING, risk)
    async with aclosing(check_database(settings, CHECK_TIMEOUT)) as made:
        async for finding in made:
            yield finding
    advice = "Check RELAY_PROVIDER_URL, and whether this machine can reach it."
    for finding in await _run("provider", advice, _check_provider, settings):
        yield finding
    for finding in await _run("service", "See the log of the service.", _check_service, settings):
        yield finding
    advice = "RELAY_PUBLIC_URL must lead to this service, from outside and from this machine."
    for finding in await _run("public address", advice, _check_public_url, settings):
        yield finding


async def _run(
    name: str, advice: str, check: Callable[[Settings], Coroutine[None, None, list[Finding]]], settings: Settings
) -> list[Finding]:
    try:
        async with asyncio.timeout(CHECK_TIMEOUT):
            return await check(settings)
    except TimeoutError:
        return [Finding(name, CheckState.ERROR, f"no response within {CHECK_TIMEOUT:g} s", advice)]
    except (aiohttp.ClientError, OSError, ValueError) as error:
        return [Finding(name, CheckState.ERROR, _sentence(error), advice)]


def _sentence(error: Exception) -> str:
    match error:
        case aiohttp.ClientConnectorDNSError():
            return f"the name {error.host} cannot be resolved"
        case aiohttp.ClientConnectorCertificateError():
            return f"the certificate of {error.host} is not valid: {error.certificate_error}"
        case aiohttp.ClientConnectorError() if isinstance(error.os_error, ssl.SSLError):
            return f"{error.host}:{error.port} cannot be reached by TLS: {tls_reason(error.os_error)}"
        case aiohttp.ClientConnectorError() if isinstance(error.os_error, ConnectionRefusedError):
            return f"nothing listens at {error.host}:{error.port}"
        case aiohttp.ClientConnectorError():
            return f"{error.host}:{error.port} cannot be reached: {error.os_error.strerror}"
        case _:
            return str(error) or type(error).__name__


async def _check_provider(settings: Settings) -> list[Finding]:
    """Ask the provider for a page of tasks, which costs nothing."""
    if settings.provider_url is None or settings.provider_key is None:
        advice = "Set RELAY_PROVIDER_URL to make real images and videos, or to run `api` and `worker` separately."
        return [Finding("provider", CheckState.WARNING, "the sandbox inside the process", advice)]
    dialect = DIALECTS[settings.provider_dialect]
    key = credential(dialect, settings.provider_key.get_secret_value())
    url = f"{settings.provider_url.rstrip('/')}{dialect.prefix}/v1/videos/text2video?pageNum=1&pageSize=1"
    sent_at = clock.now()
    async with (
        aiohttp.ClientSession() as session,
        session.get(
            url,
            headers={"Authorization": key.authorization(sent_at)},
            allow_redirects=False,
            proxy=provider_proxy(settings, url),
        ) as response,
    ):
        status, date = response.status, response.headers.get("Date")
    findings = [_provider_finding(status, settings.provider_url)]
    # The header has whole seconds, and the response took its time.
    if date and abs(ahead := _seconds_ahead(date, sent_at)) > 5:
        findings.append(clock_finding("the provider", ahead))
    return findings


def _provider_finding(status: int, url: str) -> Finding:
    if status in {401, 403}:
        advice = "Check RELAY_PROVIDER_KEY and RELAY_PROVIDER_DIALECT."
        return Finding("provider", CheckState.ERROR, f"refuses our key ({status})", advice)
    if 300 <= status < 400:
        advice = "Set RELAY_PROVIDER_URL to the provider's current address."
        return Finding("provider", CheckState.ERROR, f"redirects us ({status})", advice)
    if status >= 500 or status == 429:
        advice = "This may pass by itself; orders wait until then."
        return Finding("provider", CheckState.WARNING, f"can be reached, but answers {status}", advice)
    return Finding("provider", CheckState.OK, f"answers {status} at {url}")


def _seconds_ahead(date: str, now: datetime) -> float:
    """Return by how many seconds `now` is ahead of a `Date` header, or 0 if the header is not valid."""
    try:
        return (now - parsedate_to_datetime(date)).total_seconds()
    except (ValueError, TypeError):
        return 0.0


async def _check_service(settings: Settings) -> list[Finding]:
    url = settings.service_url
    async with aiohttp.ClientSession() as session:
        try:
            status, _ = await _request(session, "GET", f"{url}/readyz")
        except aiohttp.ClientConnectorError:
            advice = "Start it with `kling-relay up`. If it runs elsewhere, set RELAY_URL."
            return [Finding("service", CheckState.WARNING, f"nothing listens at {url}", advice)]
    if status == 200:
        return [Finding("service", CheckState.OK, f"ready at {url}")]
    return [Finding("service", CheckState.ERROR, f"{url}/readyz answers {status}", "See the log of the service.")]


async def _check_public_url(settings: Settings) -> list[Finding]:
    """Call the service by its public address. Only /callbacks may be public; there a wrong token is answered 404."""
    url = settings.own_url
    async with aiohttp.ClientSession() as session:
        try:
            status, _ = await _request(session, "GET", f"{url}/livez")
            if status == 200:
                return [Finding("public address", CheckState.OK, f"{url} leads to the service")]
            callback_status, is_ours = await _request(session, "POST", f"{url}/callbacks/{_NO_TASK}/doctor")
        except aiohttp.ClientConnectorError as error:
            if settings.public_url is not None:
                raise
            advice = "Start the service and run the doctor again."
            return [Finding("public address", CheckState.WARNING, _sentence(error), advice)]
    if callback_status == 404 and is_ours:
        detail = f"{url}/callbacks leads to the service; other paths do not"
        return [Finding("public address", CheckState.OK, detail)]
    advice = "RELAY_PUBLIC_URL must lead to this service, at least below /callbacks."
    detail = f"{url}/livez answers {status}, and {url}/callbacks/… is not this service ({callback_status})"
    return [Finding("public address", CheckState.ERROR, detail, advice)]


async def _request(session: aiohttp.ClientSession, method: str, url: str) -> tuple[int, bool]:
    """Return the response's status, and whether it has the header that every response of the service has."""
    async with session.request(method, url, allow_redirects=False) as response:
        return response.status, "X-Request-Id" in response.headers
