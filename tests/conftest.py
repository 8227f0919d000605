"""What every test may ask for: a real PostgreSQL of its own, and bounded Hypothesis profiles."""

import os
import tempfile
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Verbosity, settings
from hypothesis.configuration import set_hypothesis_home_dir

from kling_relay.store.embedded.server import Server
from tests.support.postgres import fresh_database, shared_postgres

_FIGURE = "figure"

set_hypothesis_home_dir(Path(tempfile.gettempdir()) / f"kling-relay-hypothesis-{os.getuid()}")
_bounded = settings(deadline=None, database=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("bounded", _bounded, max_examples=100, stateful_step_count=40)
settings.register_profile("thorough", _bounded, max_examples=2_000, stateful_step_count=100)
settings.register_profile("talkative", _bounded, max_examples=20, verbosity=Verbosity.verbose)
settings.load_profile("bounded")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="give the fault tests their long form (`make faults`)")


@pytest.fixture(scope="session")
def is_long(request: pytest.FixtureRequest) -> bool:
    """Whether the long form of a test was asked for; the short one takes seconds."""
    return bool(request.config.getoption("long"))


@pytest.fixture
def figure(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Take a line with a measured figure, which is shown at the end of the run."""
    return lambda line: record_property(_FIGURE, line)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Show the figures of the tests that measured something."""
    reports = [report for kind in ("passed", "failed") for report in terminalreporter.getreports(kind)]
    lines = [text for report in reports for name, text in report.user_properties if name == _FIGURE]
    if lines:
        terminalreporter.section("figures")
        for line in lines:
            terminalreporter.write_line(str(line))


@pytest.fixture(scope="session")
def postgres(request: pytest.FixtureRequest) -> Iterator[Server]:
    """This process's PostgreSQL; ask for `database` unless the server itself is what is tested.

    Each process of a run has its own, because the event log is readable below the oldest transaction of the whole
    cluster: another process's tests would hold it back.
    """
    worker = getattr(request.config, "workerinput", {"testrunuid": uuid.uuid1().hex, "workerid": "alone"})
    with shared_postgres(f"{worker['testrunuid']}-{worker['workerid']}") as server:
        yield server


@pytest.fixture
async def database(postgres: Server) -> AsyncIterator[str]:
    """The address of a fresh database with the schema in it, for asyncpg."""
    async with fresh_database(postgres) as url:
        yield url
