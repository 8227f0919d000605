"""The API, served for one test."""

from collections.abc import AsyncIterator

import pytest

from tests.support.relay import ApiServer, serve_api


@pytest.fixture
async def api(database: str) -> AsyncIterator[ApiServer]:
    """The API with default limits."""
    async with serve_api(database) as served:
        yield served
