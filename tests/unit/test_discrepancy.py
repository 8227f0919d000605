"""Every discrepancy about the cost of a task is found, in both directions, and nothing else."""

from collections.abc import Sequence
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kling_relay.core.discrepancy import TaskAccount, agreed_end, compare
from kling_relay.core.resource_packs import read_packs
from kling_relay.core.submission import NoAnswer, NoSuchTask, PollResult
from kling_relay.core.task import Signal, SignalKind, Status
from kling_relay.core.untrusted import UnreadableError

OURS: dict[Status, tuple[str, str, Sequence[str]]] = {
    Status.RECORDED: ("2", "0", ["reserve"]),
    Status.SUBMITTED: ("2", "0", ["reserve"]),
    Status.PROCESSING: ("2", "0", ["reserve"]),
    Status.SUCCEED: ("0", "2", ["reserve", "settle"]),
    Status.RESULT_MISSING: ("0", "2", ["reserve", "settle"]),
    Status.FAILED: ("0", "0", ["reserve", "release"]),
    Status.EXPIRED: ("0", "0", ["release", "reserve"]),
}
"""The correct entries of a task in each status: reserved, charged, entries. The quote is 2."""


def books(status: Status, *, is_unknown: bool = False, **other: object) -> TaskAccount:
    reserved, charged, entries = OURS[status]
    figures: dict[str, object] = {
        "reserved": Decimal(reserved),
        "charged": Decimal(charged),
        "entries": entries,
        **other,
    }
    return TaskAccount(
        task=UUID(int=1),
        client="c",
        kind="text2video",
        status=status,
        quote=Decimal(2),
        is_unknown=is_unknown,
        provider_task_id=None,
        **figures,  # type: ignore[arg-type]  # the types are those of the fields
    )


def about(ours: TaskAccount, theirs: PollResult) -> list[tuple[str, str | None]]:
    return [(item.about, None if item.theirs is None else str(item.theirs)) for item in compare(ours, theirs)]


SUCCEED, FAILED, PROCESSING = (
    Signal(kind=SignalKind.SUCCEED, charge="3.5"),
    Signal(kind=SignalKind.FAILED),
    Signal(kind=SignalKind.PROCESSING),
)


@pytest.mark.parametrize(
    ("status", "theirs", "discrepancies"),
    [
        (Status.SUCCEED, Signal(kind=SignalKind.SUCCEED, charge="2.00"), []),
        (Status.SUCCEED, Signal(kind=SignalKind.SUCCEED), []),
        (Status.SUCCEED, SUCCEED, [("charge", "3.5")]),
        (Status.SUCCEED, FAILED, [("fate", "0")]),
        (Status.SUCCEED, PROCESSING, [("fate", None)]),
        (Status.SUCCEED, NoSuchTask(), [("missing", "0")]),
        (Status.FAILED, SUCCEED, [("fate", "3.5")]),
        (Status.FAILED, Signal(kind=SignalKind.SUCCEED), [("fate", "2")]),
        (Status.FAILED, FAILED, []),
        (Status.FAILED, NoSuchTask(), []),
        (Status.EXPIRED, SUCCEED, [("fate", "3.5")]),
        (Status.EXPIRED, PROCESSING, [("fate", None)]),
        (Status.EXPIRED, FAILED, []),
        (Status.PROCESSING, SUCCEED, [("open", "3.5")]),
        (Status.PROCESSING, FAILED, [("open", "0")]),
        (Status.PROCESSING, PROCESSING, []),
        (Status.SUBMITTED, NoSuchTask(), [("missing", "0")]),
        (Status.SUBMITTED, NoAnswer("502"), []),
    ],
)
def test_the_providers_figures_are_compared_with_the_ledger(
    status: Status, theirs: PollResult, discrepancies: list[tuple[str, str | None]]
) -> None:
    assert about(books(status), theirs) == discrepancies


def test_an_unknown_order_is_a_discrepancy_until_the_provider_answers() -> None:
    assert about(books(Status.RECORDED, is_unknown=True), NoAnswer("timed out")) == [("unknown", None)]
    assert about(books(Status.RECORDED, is_unknown=True), PROCESSING) == []


@given(
    st.sampled_from(Status),
    st.lists(st.sampled_from(["reserve", "settle", "release"]), max_size=4),
    st.integers(-4, 4).map(Decimal),
    st.integers(0, 4).map(Decimal),
)
def test_wrong_entries_are_found_whatever_the_provider_answers(
    status: Status, entries: list[str], reserved: Decimal, charged: Decimal
) -> None:
    right = books(status)
    ours = books(status, entries=entries, reserved=reserved, charged=charged)
    is_charged = status in {Status.SUCCEED, Status.RESULT_MISSING}
    late = is_charged and sorted(entries) == ["release", "reserve", "settle"]
    is_right = (
        (sorted(entries) == sorted(right.entries) or late)
        and reserved == right.reserved
        and (charged == right.charged or is_charged)
    )
    faults = [item for item in compare(ours, NoAnswer("away")) if item.about == "books"]
    assert (faults == []) == is_right


def test_stored_callbacks_count_only_if_they_do_not_contradict_each_other() -> None:
    assert agreed_end([PROCESSING]) is None
    assert agreed_end([PROCESSING, Signal(kind=SignalKind.SUCCEED), SUCCEED]) == SUCCEED
    assert agreed_end([SUCCEED, FAILED]) is None
    assert agreed_end([SUCCEED, Signal(kind=SignalKind.SUCCEED, charge="4")]) is None


def test_the_figures_of_an_account_are_exact() -> None:
    body = b"""{"code": 0, "data": {"code": 0, "resource_pack_subscribe_infos": [
        {"resource_pack_name": "Video", "status": "online", "total_quantity": 200.1, "remaining_quantity": 118.0},
        {"resource_pack_name": "Old", "status": "expired", "total_quantity": 10, "remaining_quantity": 0}]}}"""
    packs = read_packs(body)
    assert [(pack.name, pack.used) for pack in packs] == [("Video", Decimal("82.1")), ("Old", Decimal(10))]


@pytest.mark.parametrize(
    "body",
    [
        b"", b"[]", b"{}", b'{"data": {}}', b"<html>", b'{"data": {"resource_pack_subscribe_infos": {}}}',
        b'{"data": {"resource_pack_subscribe_infos": [{"total_quantity": NaN, "remaining_quantity": 1}]}}',
        b'{"data": {"resource_pack_subscribe_infos": [{"total_quantity": -1, "remaining_quantity": 1}]}}',
        b'{"data": {"resource_pack_subscribe_infos": [{"total_quantity": 1e999, "remaining_quantity": 1}]}}',
        b"[" * 100_000,
    ],
)  # fmt: skip
def test_an_invalid_account_answer_is_unreadable(body: bytes) -> None:
    with pytest.raises(UnreadableError):
        read_packs(body)
