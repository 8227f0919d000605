"""The house: a web served for one test."""

from collections.abc import AsyncIterator

import pytest

from tests.support.relay import House, house


@pytest.fixture
async def home(database: str) -> AsyncIterator[House]:
    """A served web with usual limits."""
    async with house(database) as served:
        yield served
