"""Fixtures for every test, the tiers of tests, and Hypothesis profiles with bounded examples."""

import atexit
import os
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Verbosity, settings
from hypothesis.configuration import set_hypothesis_home_dir

from kling_relay.store.embedded.server import Server
from tests.support import tiers
from tests.support.postgres import fresh_database, own_postgres
from tests.support.run_directory import run_directory

_FIGURE = "figure"

_bounded = settings(deadline=None, database=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("bounded", _bounded, max_examples=100, stateful_step_count=40)
settings.register_profile("thorough", _bounded, max_examples=2_000, stateful_step_count=100)
settings.register_profile("talkative", _bounded, max_examples=20, verbosity=Verbosity.verbose)
settings.load_profile("bounded")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="give the fault tests their long form (`make faults`)")


def pytest_configure(config: pytest.Config) -> None:
    """Make the directory of the run, unless this is one of its workers, which find it as TMPDIR."""
    if not hasattr(config, "workerinput"):
        stack = ExitStack()
        stack.enter_context(run_directory())
        atexit.register(stack.close)  # after multiprocessing has removed its own files in it
    set_hypothesis_home_dir(Path(tempfile.gettempdir()) / "hypothesis")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Start two workers for a core: about half of the time of a test is waiting."""
    return 2 * len(os.sched_getaffinity(0))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark every test with its tier, before `-m` selects by it. In a worker, the slow ones begin."""
    for item in items:
        tiers.mark(item)
    if hasattr(config, "workerinput"):
        items.sort(key=tiers.is_slow, reverse=True)


@pytest.fixture(scope="session")
def is_long(request: pytest.FixtureRequest) -> bool:
    """Whether a test runs in its long form; the short one takes seconds."""
    return bool(request.config.getoption("long"))


@pytest.fixture
def figure(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Record a line with a measured figure, which is shown at the end of the run."""
    return lambda line: record_property(_FIGURE, line)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Show the figures that tests measured."""
    reports = [report for kind in ("passed", "failed") for report in terminalreporter.getreports(kind)]
    figures = [text for report in reports for name, text in report.user_properties if name == _FIGURE]
    if figures:
        terminalreporter.section("figures")
        for line in figures:
            terminalreporter.write_line(str(line))


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """The PostgreSQL of this test process; use `database` unless the server itself is tested.

    Each process of a run has its own, because the event log can be read only below the oldest transaction of the
    whole cluster, and another process's tests would hold it back.
    """
    with own_postgres(os.environ.get("PYTEST_XDIST_WORKER", "alone")) as server:
        yield server


@pytest.fixture
async def database(postgres: Server) -> AsyncIterator[str]:
    """The address of a fresh database with the schema, for asyncpg."""
    async with fresh_database(postgres) as url:
        yield url
