"""A budget refuses orders that exceed a limit, names the tightest limit, and reports its thresholds."""

from datetime import UTC, datetime
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from kling_relay.core.budget import (
    EVER,
    LIMIT_NAMES,
    BudgetAlert,
    Limits,
    Spending,
    alerts,
    budget_refusal,
    window_of,
    windows,
)

amounts = st.decimals(0, 1000, places=2)
limits = st.builds(Limits, **{name: st.none() | amounts for name in LIMIT_NAMES})
spents = st.builds(Spending, **dict.fromkeys(LIMIT_NAMES, amounts))


def d(figure: object) -> Decimal:
    return Decimal(str(figure))


def test_without_limits_every_order_fits() -> None:
    assert budget_refusal(Limits(), Spending(total=d(10**9)), d(10**6)) is None


def test_an_order_may_use_up_a_limit_but_not_exceed_it() -> None:
    budget = Limits(day=d(10))
    assert budget_refusal(budget, Spending(day=d("6.5")), d("3.5")) is None
    refusal = budget_refusal(budget, Spending(day=d("6.6")), d("3.5"))
    assert refusal is not None
    assert (refusal.http_status, refusal.code, refusal.limit) == (402, 1102, "day")
    assert refusal.message == "The order costs 3.5, but this client has 3.4 left of 10 today; nothing was sent."


def test_the_tightest_limit_is_the_one_that_is_named() -> None:
    budget = Limits(total=d(100), month=d(50), open=d(5))
    refusal = budget_refusal(budget, Spending(total=d(98), month=d(30), open=d("4.5")), d(3), owner="this key")
    assert refusal is not None
    assert refusal.limit == "open"
    assert "this key has 0.5 left of 5 reserved at once" in refusal.message


def test_an_overdrawn_budget_has_nothing_left() -> None:
    refusal = budget_refusal(Limits(total=d(5)), Spending(total=d(9)), d(1))
    assert refusal is not None
    assert "0 left of 5 in all" in refusal.message


def test_an_order_that_costs_nothing_is_always_admitted() -> None:
    assert budget_refusal(Limits(total=d(0)), Spending(total=d(9)), d(0)) is None


@given(limits, spents, amounts)
def test_an_order_fits_exactly_if_it_exceeds_no_limit(budget: Limits, spent: Spending, amount: Decimal) -> None:
    after = spent.plus(amount)
    passed = [name for name in budget.names if getattr(after, name) > getattr(budget, name)]
    refusal = budget_refusal(budget, spent, amount)
    assert (refusal is not None) == bool(passed and amount > 0)
    assert refusal is None or refusal.limit in passed


def test_a_threshold_is_reached_when_that_much_is_spent() -> None:
    budget = Limits(total=d(10), month=d(100))
    reached = alerts(budget, Spending(total=d(8), month=d("79.9")))
    assert [alert.to_json() for alert in reached] == [{"limit": "total", "percent": 80, "allowed": "10", "spent": "8"}]
    assert [alert.percent for alert in alerts(budget, Spending(total=d(12)))] == [80, 100]
    assert alerts(budget, Spending(total=d("7.9"))) == ()


def test_a_limit_of_zero_has_no_thresholds() -> None:
    assert alerts(Limits(total=d(0)), Spending()) == ()


@given(limits, spents, amounts)
def test_a_reached_threshold_stays_reached_when_more_is_spent(budget: Limits, spent: Spending, amount: Decimal) -> None:
    def names(reached: tuple[BudgetAlert, ...]) -> set[tuple[str, int]]:
        return {(alert.limit, alert.percent) for alert in reached}

    assert names(alerts(budget, spent)) <= names(alerts(budget, spent.plus(amount)))


def test_thresholds_have_windows_of_their_own() -> None:
    now = datetime(2026, 11, 22, 16, 29, tzinfo=UTC)
    assert [window_of(name, now) for name in LIMIT_NAMES] == [
        EVER, datetime(2026, 11, 22, tzinfo=UTC), datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 11, 22, tzinfo=UTC),
    ]  # fmt: skip


def test_days_and_months_are_in_utc() -> None:
    now = datetime(2026, 11, 22, 16, 29, 3, 7, tzinfo=UTC)
    assert windows(now) == (datetime(2026, 11, 22, tzinfo=UTC), datetime(2026, 11, 1, tzinfo=UTC))


def test_limits_are_shown_as_plain_figures() -> None:
    assert Limits(total=d("99.50"), day=d(10)).to_json() == {"total": "99.5", "day": "10", "month": None, "open": None}
