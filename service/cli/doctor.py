"""`doctor`: looks at everything that a service needs, says what it found, and what to do about what is wrong."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import click

from service.cli.connection import json_option
from service.cli.screen import Screen

if TYPE_CHECKING:
    from service.settings import Settings

_PATIENCE = 10.0
"""Seconds that one look may take."""
MARKS = {"good": ("✓", "green"), "poor": ("!", "yellow"), "bad": ("✗", "red")}


@dataclass(frozen=True, slots=True)
class Finding:
    """What one look found: `good`, `poor` (works, but seldom meant) or `bad`; what to do unless it is good."""

    about: str
    state: str
    says: str
    advice: str = ""


@click.command()
@json_option
@click.pass_context
def doctor(ctx: click.Context, as_json: bool) -> None:
    """Check all that a service needs, and say what to do.

    Settings, database, schema, partitions, clock, provider, the service itself and its public address. It needs the
    settings of the service. An embedded PostgreSQL is started for the moment where it does not run.
    """
    screen = Screen(as_json)
    found = asyncio.run(_all(screen))
    if as_json:
        screen.document([asdict(each) for each in found])
    ctx.exit(1 if any(each.state == "bad" for each in found) else 0)


async def _all(screen: Screen) -> list[Finding]:
    found = []
    async for finding in _looks():
        found.append(finding)
        if not screen.as_json:
            mark, colour = MARKS[finding.state]
            click.echo(f"{click.style(mark, fg=colour)} {finding.about}: {finding.says}")
            if finding.advice:
                click.echo(f"    {finding.advice}")
    return found


async def _looks() -> AsyncIterator[Finding]:
    from service.settings import SettingsError, read, risks  # noqa: PLC0415 - a third of a second

    try:
        settings = read()
    except SettingsError as error:
        for fault in error.faults:
            yield Finding("settings", "bad", fault, "`kling-relay settings` explains every setting.")
        return
    yield Finding("settings", "good", "all can be read")
    for risk in risks(settings):
        yield Finding("settings", "poor", risk)
    for finding in await _database(settings):
        yield finding
    yield await _guarded("provider", "Check RELAY_PROVIDER_URL; may this machine reach it?", _provider, settings)
    yield await _guarded("service", "Start it: `kling-relay up`.", _service, settings)
    yield await _guarded("public address", "RELAY_PUBLIC_URL must lead to this service.", _public, settings)


async def _guarded(
    about: str, advice: str, look: "Callable[[Settings], Coroutine[Any, Any, Finding]]", settings: "Settings"
) -> Finding:
    """Return what a look finds; what it raises is a finding too."""
    try:
        async with asyncio.timeout(_PATIENCE):
            return await look(settings)
    except TimeoutError:
        return Finding(about, "bad", f"no answer within {_PATIENCE:g} s", advice)
    except Exception as error:  # noqa: BLE001 - whatever is wrong is what we are here to tell
        return Finding(about, "bad", str(error) or type(error).__name__, advice)


async def _database(settings: "Settings") -> list[Finding]:
    """Return what is found in the database: that it is there, its age and clock, the schema, partitions ahead."""
    from service.app.database import located  # noqa: PLC0415 - the whole service

    advice = "Check RELAY_DATABASE_URL, and that PostgreSQL runs and lets this machine in."
    try:
        async with located(settings) as url, asyncio.timeout(_PATIENCE):
            return await _inside(url)
    except TimeoutError:
        return [Finding("database", "bad", f"no answer within {_PATIENCE:g} s", advice)]
    except Exception as error:  # noqa: BLE001 - as above
        return [Finding("database", "bad", str(error) or type(error).__name__, advice)]


async def _inside(url: str) -> list[Finding]:
    import asyncpg  # noqa: PLC0415 - imported by now

    from service.app import sources  # noqa: PLC0415
    from service.store import migrate, partitions  # noqa: PLC0415

    connection = await asyncpg.connect(url, statement_cache_size=0)
    try:
        version = connection.get_server_version()
        now = sources.now()
        apart = abs((await connection.fetchval("SELECT clock_timestamp()") - now).total_seconds())
        is_ready = await migrate.is_ready(url)
        ahead = max((each.end for each in await partitions.ranges(connection)), default=now) if is_ready else now
    finally:
        await connection.close()
    is_old = version.major < 14
    found = [
        Finding("database", "bad", f"PostgreSQL {version.major} is too old", "It takes PostgreSQL 14 or newer.")
        if is_old
        else Finding("database", "good", f"PostgreSQL {version.major} answers"),
        _clock("the database", apart),
        Finding("schema", "good", f"at {await migrate.current(url)}")
        if is_ready
        else Finding("schema", "bad", f"not at {migrate.head()}", "`kling-relay migrate` brings it up."),
    ]
    if is_ready:
        days = (ahead - now).total_seconds() / 86_400
        advice = "A running worker makes them; `kling-relay migrate` does too."
        state = "good" if days > 1 else "bad"
        found.append(Finding("partitions", state, f"there for {days:.0f} days ahead", "" if days > 1 else advice))
    return found


def _clock(whose: str, apart: float) -> Finding:
    if apart < 5:
        return Finding("clock", "good", f"within {max(apart, 0.1):.1f} s of that of {whose}")
    advice = "Set both by NTP: signatures hold for five minutes only."
    return Finding("clock", "poor" if apart < 60 else "bad", f"{apart:.0f} s apart from that of {whose}", advice)


async def _provider(settings: "Settings") -> Finding:
    """Ask the provider for a page of tasks, which costs nothing."""
    import aiohttp  # noqa: PLC0415 - imported by now

    from service.app import sources  # noqa: PLC0415
    from service.provider.dialects import DIALECTS, credential  # noqa: PLC0415

    if settings.provider_url is None or settings.provider_key is None:
        return Finding("provider", "poor", "the sandbox, in process", "For real pictures set RELAY_PROVIDER_URL.")
    dialect = DIALECTS[settings.provider_dialect]
    key = credential(dialect, settings.provider_key.get_secret_value())
    url = f"{settings.provider_url.rstrip('/')}{dialect.prefix}/v1/videos/text2video?pageNum=1&pageSize=1"
    async with (
        aiohttp.ClientSession() as session,
        session.get(url, headers={"Authorization": key.authorization(sources.now())}, allow_redirects=False) as answer,
    ):
        status = answer.status
    if status in {401, 403}:
        return Finding("provider", "bad", f"refuses our key ({status})", "Check RELAY_PROVIDER_KEY and its dialect.")
    if status >= 500:
        return Finding("provider", "poor", f"is there, but answers {status}", "It may be passing; orders wait for it.")
    return Finding("provider", "good", f"answers {status} at {settings.provider_url}")


async def _service(settings: "Settings") -> Finding:
    status = await _status(f"{settings.service_url}/readyz")
    if status == 200:
        return Finding("service", "good", f"ready at {settings.service_url}")
    return Finding("service", "bad", f"{settings.service_url}/readyz answers {status}", "Look at its log.")


async def _public(settings: "Settings") -> Finding:
    status = await _status(f"{settings.own_url}/livez")
    if status == 200:
        return Finding("public address", "good", f"{settings.own_url} leads to the service")
    advice = "RELAY_PUBLIC_URL must lead to this service."
    return Finding("public address", "bad", f"{settings.own_url}/livez answers {status}", advice)


async def _status(url: str) -> int:
    import aiohttp  # noqa: PLC0415 - imported by now

    async with aiohttp.ClientSession() as session, session.get(url, allow_redirects=False) as answer:
        return answer.status
