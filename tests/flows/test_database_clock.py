"""The database's time is carried on by a clock that nobody sets, and moves no further than a reading demands."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from kling_relay.flows.database_clock import DatabaseClock

NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)


@dataclass(slots=True)
class Machine:
    """A machine's two clocks."""

    time: datetime = NOON
    uptime: float = 1000.0

    def pass_by(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)
        self.uptime += seconds


def clock_of(machine: Machine, *, ahead: float = 0.0) -> DatabaseClock:
    """Return the clock after a reading that took no time, of a database that the machine is ahead of."""
    clock = DatabaseClock(machine_now=lambda: machine.time, elapsed=lambda: machine.uptime)
    clock.adjust(machine.time - timedelta(seconds=ahead), machine.uptime)
    return clock


@pytest.mark.parametrize("ahead", [0.0, 864_000.0, -864_000.0])
def test_the_machines_time_does_not_matter(ahead: float) -> None:
    machine = Machine()
    clock = clock_of(machine, ahead=ahead)
    machine.pass_by(60)
    assert clock.now() == NOON + timedelta(seconds=60 - ahead)
    assert clock.machine_offset == pytest.approx(ahead, abs=1e-3)


def test_setting_the_machines_clock_changes_nothing() -> None:
    machine = Machine()
    clock = clock_of(machine)
    machine.time += timedelta(days=10)
    assert clock.now() == NOON
    assert clock.machine_offset == pytest.approx(864_000)


def test_the_first_reading_is_taken_for_the_middle_of_the_time_that_it_took() -> None:
    machine = Machine()
    clock = DatabaseClock(machine_now=lambda: machine.time, elapsed=lambda: machine.uptime)
    asked_at = machine.uptime
    machine.pass_by(0.5)
    clock.adjust(NOON, asked_at)
    assert clock.now() == NOON + timedelta(seconds=0.25)


def test_a_reading_that_does_not_contradict_moves_nothing() -> None:
    machine = Machine()
    clock = clock_of(machine)
    for at in (NOON, NOON + timedelta(seconds=4)):  # said at the beginning, then at the end, of two seconds
        asked_at = machine.uptime
        machine.pass_by(2)
        clock.adjust(at, asked_at)
    assert clock.now() == machine.time


@pytest.mark.parametrize(("jump", "expected"), [(106.0, 106.0), (-3.0, -1.0), (0.5, 0.5), (-1.5, 0.0)])
def test_a_reading_that_contradicts_moves_the_time_as_far_as_needed(jump: float, expected: float) -> None:
    """As after a failover, or after the hypervisor paused the machine. Each reading takes two seconds."""
    machine = Machine()
    clock = clock_of(machine)
    asked_at = machine.uptime
    machine.pass_by(2)
    clock.adjust(machine.time + timedelta(seconds=jump), asked_at)
    assert (clock.now() - machine.time).total_seconds() == pytest.approx(expected, abs=1e-3)
