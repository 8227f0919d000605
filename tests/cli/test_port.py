"""Two services on one port share it, as a rolling restart needs; the second one warns about it."""

import socket

from kling_relay.app.serving import listening
from kling_relay.cli.port import is_free, would_be_shared
from tests.support.processes import fleet
from tests.support.service import SIGNING, sandboxed


def test_a_port_is_free_shared_or_in_use_by_another_program() -> None:
    with listening("127.0.0.1", 0) as ours:
        ours.listen()
        port = ours.getsockname()[1]
        assert (is_free("127.0.0.1", port), would_be_shared("127.0.0.1", port)) == (False, True)
    assert (is_free("127.0.0.1", port), would_be_shared("127.0.0.1", port)) == (True, False)
    with socket.create_server(("127.0.0.1", 0)) as theirs:
        port = theirs.getsockname()[1]
        assert (is_free("127.0.0.1", port), would_be_shared("127.0.0.1", port)) == (False, False)


async def test_the_second_service_on_a_port_notes_that_it_shares_it(database: str) -> None:
    with listening("127.0.0.1", 0) as held:
        port = held.getsockname()[1]
    async with sandboxed() as (_, provider):
        settings = {
            "RELAY_PORT": str(port),
            "RELAY_METRICS_PORT": "0",
            "RELAY_DATABASE_URL": database,
            "RELAY_PROVIDER_URL": provider,
            "RELAY_PROVIDER_KEY": "hk-sandbox",
            "RELAY_SIGNING_KEYS": SIGNING,
            "RELAY_PROCESSES": "2",
        }
        async with fleet(settings) as services:
            first, second = await services.start("api"), await services.start("up")
            note = f"Port {port} is already served by another process"
            assert not any(note in line for line in first.lines), first.lines
            assert sum(note in line for line in second.lines) == 1, second.lines
