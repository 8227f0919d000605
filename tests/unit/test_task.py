"""The state machine of a task, by its properties."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kling_relay.core.task import CLIENT_STATUS, FINAL, MOVES, Signal, SignalKind, Status, Step, Task, advance

NOW = datetime(2026, 11, 20, tzinfo=UTC)
SIGNALS = st.sampled_from(SignalKind).map(Signal)
TIMES = st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - bounds are naive by contract


def recorded() -> Task:
    return Task(id=UUID(int=1), status=Status.RECORDED, sequence=0, updated_at=NOW)


def walk(signals: list[Signal], now: datetime = NOW) -> list[Step]:
    task, steps = recorded(), []
    for signal in signals:
        if step := advance(task, signal, now):
            steps.append(step)
            task = step.task
    return steps


@given(st.lists(SIGNALS, max_size=30))
def test_no_status_repeats_and_the_sequence_has_no_gaps(signals: list[Signal]) -> None:
    steps = walk(signals)
    entered = [step.task.status for step in steps]
    assert len(set(entered)) == len(entered)
    assert [step.task.sequence for step in steps] == list(range(1, len(steps) + 1))


@given(st.lists(SIGNALS, max_size=30))
def test_a_task_without_its_result_moves_only_when_it_gets_one(signals: list[Signal]) -> None:
    statuses = [step.task.status for step in walk(signals)]
    if Status.RESULT_MISSING in statuses:
        assert statuses[statuses.index(Status.RESULT_MISSING) + 1 :] in ([], [Status.SUCCEED])


@given(st.lists(st.sampled_from([SignalKind.SUBMITTED, SignalKind.PROCESSING, SignalKind.INCOMPLETE]).map(Signal)))
def test_a_success_without_a_file_ends_no_task_that_is_open(signals: list[Signal]) -> None:
    assert not any(step.is_final for step in walk(signals))


@given(st.lists(SIGNALS, max_size=30), SIGNALS)
@pytest.mark.long
def test_a_repeated_signal_changes_nothing(signals: list[Signal], last: Signal) -> None:
    assert [step.task for step in walk([*signals, last])] == [step.task for step in walk([*signals, last, last])]


@given(st.lists(SIGNALS, max_size=30))
def test_a_task_is_finished_exactly_when_its_status_is_final(signals: list[Signal]) -> None:
    for step in walk(signals):
        assert (
            step.is_final == (step.task.status in FINAL) == (CLIENT_STATUS[step.task.status] in {"succeed", "failed"})
        )


@given(st.lists(SIGNALS, max_size=30))
def test_a_final_status_of_the_provider_stands(signals: list[Signal]) -> None:
    steps = walk(signals)
    for status in (Status.SUCCEED, Status.FAILED):
        if any(step.task.status is status for step in steps):
            assert steps[-1].task.status is status
    if any(CLIENT_STATUS[step.task.status] == "succeed" for step in steps):
        assert CLIENT_STATUS[steps[-1].task.status] == "succeed"


@given(TIMES, TIMES)
def test_updated_at_never_goes_back_even_if_the_clock_does(first: datetime, second: datetime) -> None:
    task = advance(recorded(), Signal(kind=SignalKind.PROCESSING), first)
    assert task
    step = advance(task.task, Signal(kind=SignalKind.SUCCEED), second)
    assert step
    assert step.task.updated_at >= task.task.updated_at >= NOW


def test_a_late_success_overrides_expiry() -> None:
    steps = walk([Signal(kind=SignalKind.EXPIRED), Signal(kind=SignalKind.SUCCEED)])
    assert [CLIENT_STATUS[step.task.status] for step in steps] == ["failed", "succeed"]


@pytest.mark.parametrize("late", [SignalKind.INCOMPLETE, SignalKind.RESULT_MISSING])
def test_a_late_success_without_a_file_overrides_expiry_too_and_may_still_be_filled_in(late: SignalKind) -> None:
    steps = walk([Signal(kind=SignalKind.EXPIRED), Signal(kind=late), Signal(kind=SignalKind.SUCCEED)])
    assert [step.task.status for step in steps] == [Status.EXPIRED, Status.RESULT_MISSING, Status.SUCCEED]


@pytest.mark.parametrize("late", [SignalKind.SUBMITTED, SignalKind.PROCESSING, SignalKind.FAILED, SignalKind.EXPIRED])
def test_only_a_success_overrides_expiry(late: SignalKind) -> None:
    assert len(walk([Signal(kind=SignalKind.EXPIRED), Signal(kind=late)])) == 1


@pytest.mark.parametrize("end", [SignalKind.SUCCEED, SignalKind.FAILED])
@pytest.mark.parametrize("late", list(SignalKind))
def test_a_task_that_the_provider_ended_stays_ended(end: SignalKind, late: SignalKind) -> None:
    assert len(walk([Signal(kind=end), Signal(kind=late)])) == 1


@pytest.mark.parametrize("late", [kind for kind in SignalKind if kind is not SignalKind.SUCCEED])
def test_only_a_success_with_files_fills_in_a_missing_result(late: SignalKind) -> None:
    assert len(walk([Signal(kind=SignalKind.RESULT_MISSING), Signal(kind=late)])) == 1
    filled = walk([Signal(kind=SignalKind.RESULT_MISSING), Signal(kind=SignalKind.SUCCEED)])
    assert [(step.task.status, step.task.sequence) for step in filled] == [
        (Status.RESULT_MISSING, 1),
        (Status.SUCCEED, 2),
    ]


def test_every_status_has_moves_and_a_status_for_clients() -> None:
    assert set(MOVES) == set(CLIENT_STATUS) == set(Status)
    assert set(CLIENT_STATUS.values()) == {"submitted", "processing", "succeed", "failed"}


def test_a_callback_may_overtake_every_step_before_it() -> None:
    (step,) = walk([Signal(kind=SignalKind.SUCCEED)])
    assert step.task.sequence == 1
    assert step.task.updated_at - NOW == timedelta(0)
