"""Runs modules that say ON_EVERY_LOOP on uvloop too: the service's transports are uvloop's, which differ."""

import asyncio
from collections.abc import Callable, Mapping

import pytest
import uvloop

LoopFactory = Callable[[], asyncio.AbstractEventLoop]


def pytest_asyncio_loop_factories(item: pytest.Item) -> Mapping[str, LoopFactory]:
    """Return the event loops that a test runs on."""
    usual: dict[str, LoopFactory] = {"asyncio": asyncio.new_event_loop}
    is_on_every_loop = getattr(getattr(item, "module", None), "ON_EVERY_LOOP", False)
    return usual | {"uvloop": uvloop.new_event_loop} if is_on_every_loop else usual
