"""Every task is reserved once and, when final, settled or released exactly once."""

from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kling_relay.core.discrepancy import TaskAccount, compare
from kling_relay.core.ledger import Entry, charge_of, ledger_state, on_record, on_step
from kling_relay.core.money import MAX_AMOUNT, format_amount, parse_amount
from kling_relay.core.submission import NoAnswer
from kling_relay.core.task import FINAL, Signal, SignalKind, Status, Task, advance

NOW = datetime(2026, 11, 22, tzinfo=UTC)
QUOTE = Decimal("3.5")

charges = (
    st.none() | st.text(max_size=12) | st.sampled_from(["7", "3.50", "0", "-1", "NaN", "1e9", "", "9" * 40, "2,5"])
)
signals = st.builds(lambda kind, charge: Signal(kind, charge=charge), st.sampled_from(SignalKind), charges)
quotes = st.decimals(0, 10_000, places=2)


def ledger_of(quote: Decimal, received: list[Signal]) -> tuple[Status, list[Entry]]:
    """Return the status and the entries of a task that gets these signals, one after the other."""
    task = Task(id=UUID(int=1), status=Status.RECORDED, sequence=0, updated_at=NOW)
    entries = [on_record(quote)]
    for signal in received:
        step = advance(task, signal, NOW)
        if step is None:
            continue
        entry = on_step(task.status, step.task.status, quote, signal.charge)
        entries += [entry] if entry else []
        task = step.task
    return task.status, entries


def sums(entries: list[Entry]) -> tuple[Decimal, Decimal]:
    return sum((entry.reserved for entry in entries), Decimal(0)), sum((entry.charged for entry in entries), Decimal(0))


@given(quotes, st.lists(signals, max_size=12))
@pytest.mark.long
def test_a_task_reserves_once_and_ends_in_exactly_one_of_settle_or_release(
    quote: Decimal, received: list[Signal]
) -> None:
    status, entries = ledger_of(quote, received)
    settled = (["reserve", "settle"], ["reserve", "release", "settle"])  # the second is the late success
    ends = {
        Status.SUCCEED: settled,
        Status.RESULT_MISSING: settled,
        Status.FAILED: (["reserve", "release"],),
        Status.EXPIRED: (["reserve", "release"],),
    }
    assert [entry.entry for entry in entries] in ends.get(status, (["reserve"],))


@given(quotes, st.lists(signals, max_size=12))
def test_reservations_sum_to_nothing_once_final_and_only_success_costs(quote: Decimal, received: list[Signal]) -> None:
    status, entries = ledger_of(quote, received)
    reserved, charged = sums(entries)
    assert reserved == (0 if status in FINAL else quote)
    assert charged >= 0
    if status not in {Status.SUCCEED, Status.RESULT_MISSING}:
        assert charged == 0
    assert all(sums(entries[:end])[0] >= 0 for end in range(len(entries) + 1))


@given(quotes, st.lists(signals, max_size=12))
def test_reconciliation_finds_no_fault_in_the_entries_of_any_task(quote: Decimal, received: list[Signal]) -> None:
    status, entries = ledger_of(quote, received)
    reserved, charged = sums(entries)
    account = TaskAccount(
        task=UUID(int=1),
        client="somebody",
        kind="text2video",
        status=status,
        quote=quote,
        reserved=reserved,
        charged=charged,
        entries=[entry.entry for entry in entries],
        is_unknown=False,
        provider_task_id=None,
    )
    assert compare(account, NoAnswer("not asked")) == []


def test_a_result_that_arrives_later_costs_nothing_more() -> None:
    assert on_step(Status.PROCESSING, Status.RESULT_MISSING, QUOTE, "4") == Entry("settle", -QUOTE, Decimal(4))
    assert on_step(Status.RESULT_MISSING, Status.SUCCEED, QUOTE, "4") is None


def test_a_success_is_settled_with_the_providers_figure() -> None:
    entry = on_step(Status.PROCESSING, Status.SUCCEED, QUOTE, "4.00")
    assert entry == Entry(entry="settle", reserved=-QUOTE, charged=Decimal(4))


def test_a_success_without_a_figure_is_settled_with_the_quote() -> None:
    assert on_step(Status.RECORDED, Status.SUCCEED, QUOTE, None) == Entry(
        entry="settle", reserved=-QUOTE, charged=QUOTE
    )


@pytest.mark.parametrize("after", [Status.FAILED, Status.EXPIRED])
def test_a_failure_costs_nothing_even_if_the_provider_names_a_charge(after: Status) -> None:
    assert on_step(Status.SUBMITTED, after, QUOTE, "4") == Entry(entry="release", reserved=-QUOTE, charged=Decimal(0))


def test_a_late_success_is_charged_without_being_released_again() -> None:
    entries = [
        on_record(QUOTE),
        on_step(Status.PROCESSING, Status.EXPIRED, QUOTE, None),
        on_step(Status.EXPIRED, Status.SUCCEED, QUOTE, "4"),
    ]
    assert sums([entry for entry in entries if entry]) == (Decimal(0), Decimal(4))


def test_a_step_to_a_status_that_is_not_final_moves_no_money() -> None:
    assert on_step(Status.RECORDED, Status.SUBMITTED, QUOTE, None) is None
    assert on_step(Status.SUBMITTED, Status.PROCESSING, QUOTE, "3") is None


@pytest.mark.parametrize(
    "charge", ["-1", "NaN", "Infinity", "1e3", "0x10", "9" * 500, "1_000", "²", "１", "1.1234567", "one", "4\x00"]
)
def test_an_invalid_charge_is_replaced_by_the_quote_with_a_note(charge: str) -> None:
    charged, note = charge_of(charge, QUOTE)
    assert charged == QUOTE
    assert "the quote 3.5 is charged" in note
    assert note.isprintable()


@pytest.mark.parametrize(("charge", "charged"), [("0", "0"), (" 7 ", "7"), ("3.500000000", "3.5"), ("", "3.5")])
def test_a_plain_charge_is_accepted_without_a_note(charge: str, charged: str) -> None:
    assert charge_of(charge, QUOTE) == (Decimal(charged), "")


def test_the_ledger_state_follows_the_task() -> None:
    assert [ledger_state(status) for status in Status] == [
        "reserved", "reserved", "reserved", "settled", "settled", "released", "released",
    ]  # fmt: skip
    assert ledger_state(Status.RECORDED, is_unknown=True) == "unknown"
    assert ledger_state(Status.SUCCEED, is_unknown=True) == "settled"


@given(st.decimals(0, MAX_AMOUNT, places=6))
def test_money_that_is_written_plainly_is_read_back_exactly(amount: Decimal) -> None:
    assert parse_amount(format_amount(amount)) == amount


@pytest.mark.parametrize("value", [1.5, True, None, -1, 10**10, "10000000000", "1e5", [], b"1"])
def test_anything_but_a_plain_figure_is_not_money(value: object) -> None:
    assert parse_amount(value) is None
