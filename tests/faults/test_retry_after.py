"""A provider that asks to wait for longer than an order may wait: its Retry-After has a bound."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import asyncpg
import pytest
from aiohttp import web

from tests.flows.test_provider_client import serving
from tests.support.service import running

DAY = "86400"
IDS = ["seconds", "date", "huge"]
TOMORROW = format_datetime(datetime.now(UTC) + timedelta(days=1), usegmt=True)


@asynccontextmanager
async def busy_provider(retry_after: str, code: int = 1302) -> AsyncIterator[str]:
    async def answer(request: web.BaseRequest) -> web.Response:
        await request.read()
        body = {"code": code, "message": "later", "request_id": "R"}
        return web.json_response(body, status=429, headers={"Retry-After": retry_after})

    async with serving(answer) as url:
        yield url


async def waits_for(database: str) -> float:
    """Return the seconds until the only order is sent again."""
    connection = await asyncpg.connect(database)
    try:
        seconds = "SELECT extract(epoch FROM due_at - now())::float FROM submissions WHERE state = 'recorded'"
        return float(await connection.fetchval(seconds))
    finally:
        await connection.close()


@pytest.mark.parametrize(("deadline", "bound"), [("6h", 300), ("10m", 60)])
@pytest.mark.parametrize(
    ("retry_after", "code"), [(DAY, 1302), (TOMORROW, 1303), ("9" * 60, 5001)], ids=["seconds", "date", "huge"]
)
async def test_a_retry_after_of_a_day_counts_as_five_minutes_or_a_tenth_of_the_deadline(
    database: str, deadline: str, bound: float, retry_after: str, code: int, figure: Callable[[str], None]
) -> None:
    async with (
        busy_provider(retry_after, code) as provider,
        running(database, provider, task_deadline=deadline) as relay,
    ):
        await relay.submit()
        waits = await waits_for(database)
        figure(f"{code} with Retry-After: {retry_after[:10]}, deadline {deadline}: sent again after {waits:.0f} s")
        assert bound - 5 < waits <= bound


async def test_a_short_retry_after_is_honoured(database: str) -> None:
    async with busy_provider("40") as provider, running(database, provider) as relay:
        await relay.submit()
        assert 35 < await waits_for(database) <= 40


async def test_an_order_that_waits_ends_at_its_deadline(database: str) -> None:
    async with busy_provider(DAY) as provider, running(database, provider, task_deadline="1s") as relay:
        final = await relay.final(await relay.submit())
        assert "never reached the provider and was not charged" in final["task_status_msg"]
