"""Prices are data, and the two shipped lists have the prices of the seed and of Kling."""

import json
from decimal import Decimal
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kling_relay.core.errors import ConfigurationError, InvalidOrder
from kling_relay.core.operation import GENERATIONS
from kling_relay.core.order import Order, check
from kling_relay.core.price import MAX_QUOTES, Prices, Quoter, quote
from kling_relay.provider.price_file import PRICES, load_prices, read_prices
from tests.unit.orders import I2V, IMAGES, KLING, SEED, T2V, URL

SEED_PRICES = load_prices("seed")
KLING_PRICES = load_prices("kling-2026")

# model, mode, duration, amount: the table that both the seed's rule and Kling's list come down to
SEED_TABLE = [
    ("kling-v1", "std", 5, "1"), ("kling-v1", "std", 10, "2"), ("kling-v1", "pro", 5, "3.5"),
    ("kling-v1", "pro", 10, "7"),
    ("kling-v1-5", "std", 5, "2"), ("kling-v1-5", "std", 10, "4"), ("kling-v1-5", "pro", 5, "7"),
    ("kling-v1-5", "pro", 10, "14"),
]  # fmt: skip
KLING_TABLE = [
    (model, mode, seconds, amount)
    for model in ("kling-v1-5", "kling-v1-6")
    for mode, seconds, amount in (("std", 5, "2"), ("std", 10, "4"), ("pro", 5, "3.5"), ("pro", 10, "7"))
]


def video(model: str, mode: str | None, duration: int, book: Any = KLING) -> Order:
    return check(I2V, {"image": URL, "model_name": model, "mode": mode, "duration": duration}, book)


@pytest.mark.parametrize(("model", "mode", "duration", "amount"), SEED_TABLE)
def test_a_video_costs_what_the_seed_says(model: str, mode: str, duration: int, amount: str) -> None:
    result = quote(video(model, mode, duration, SEED), SEED_PRICES)
    assert (result.amount, result.currency, result.listed) == (Decimal(amount), "unit", True)
    assert result.version == "seed@2024-09-10"


@pytest.mark.parametrize(("model", "mode", "duration", "amount"), KLING_TABLE)
def test_a_video_costs_what_kling_says(model: str, mode: str, duration: int, amount: str) -> None:
    result = quote(video(model, mode, duration), KLING_PRICES)
    assert (result.amount, result.listed) == (Decimal(amount), True)


@pytest.mark.parametrize(("prices", "n"), list(product([SEED_PRICES, KLING_PRICES], range(1, 10))))
def test_every_image_of_an_order_is_charged(prices: Prices, n: int) -> None:
    assert quote(check(IMAGES, {"prompt": "x", "n": n}, SEED), prices).amount == n
    assert quote(check(IMAGES, {"prompt": "x", "n": n, "image": URL}, KLING), prices).amount == n


def test_omitted_members_are_priced_by_their_defaults() -> None:
    order = check(T2V, {"prompt": "x"}, SEED)
    assert (order.fields["duration"], order.fields["mode"]) == ("5", "std")
    assert quote(order, SEED_PRICES).amount == 1


@pytest.mark.parametrize(
    ("model", "mode", "duration", "amount"),
    [
        ("kling-v2-master", None, 10, "4"),
        ("kling-v3", "pro", 15, "10.5"),
        ("kling-v3", "std", 3, "1.2"),
        ("kling-v3", "4k", 5, "7"),
    ],
)
def test_a_price_by_the_default_rule_says_so(model: str, mode: str, duration: int, amount: str) -> None:
    result = quote(video(model, mode, duration), KLING_PRICES)
    assert (result.amount, result.listed) == (Decimal(amount), False)


def test_a_quote_explains_itself() -> None:
    assert quote(video("kling-v1-5", "pro", 10, SEED), SEED_PRICES).to_json() == {
        "amount": "14",
        "currency": "unit",
        "prices": "seed@2024-09-10",
        "listed": True,
        "lines": ["2 per kling-v1-5 video", "x 3.5 for mode pro", "x 2 for duration 10"],
    }


@given(
    st.sampled_from([SEED_PRICES, KLING_PRICES]),
    st.from_regex(r"kling-[a-z0-9-]{1,20}", fullmatch=True),
    st.sampled_from(["std", "pro", "4k", None]),
    st.integers(3, 15),
)
def test_every_valid_order_has_a_price_above_zero(prices: Prices, model: str, mode: str | None, seconds: int) -> None:
    try:
        order = video(model, mode, seconds)
    except InvalidOrder:  # other tests say which orders are refused; this one prices the rest
        return
    result = quote(order, prices)
    assert result.amount > 0
    assert result.amount == result.amount.quantize(Decimal("0.000001"))
    assert quote(order, prices) == result


def test_repeated_quotes_are_equal_and_the_cache_is_bounded() -> None:
    quoter = Quoter(KLING_PRICES)
    for round_ in range(2):
        for number in range(MAX_QUOTES // 2 + 1):
            for mode in ("std", "pro"):
                order = video(f"kling-v9-{number}", mode, 5)
                assert quoter(order) == quote(order, KLING_PRICES), round_
    assert quoter.cached <= MAX_QUOTES


@pytest.mark.parametrize("prices", [SEED_PRICES, KLING_PRICES])
def test_a_list_describes_itself_as_the_json_it_is_made_from(prices: Prices) -> None:
    assert read_prices(json.loads(json.dumps(prices.to_json())), "again") == prices


def test_an_operators_own_list_is_loaded_by_its_path(tmp_path: Path) -> None:
    written = json.loads((PRICES / "seed.json").read_text(encoding="utf-8"))
    written |= {"name": "ours", "version": "7", "currency": "CNY"}
    written["rules"][0]["price"] = "0.025"
    (tmp_path / "p.json").write_text(json.dumps(written), encoding="utf-8")
    result = quote(check(GENERATIONS, {"prompt": "x", "n": 3}, SEED), load_prices(tmp_path / "p.json"))
    assert (str(result.amount), result.currency, result.version) == ("0.075", "CNY", "ours@7")


def test_a_wrong_list_is_refused_with_all_its_faults() -> None:
    written = json.loads((PRICES / "seed.json").read_text(encoding="utf-8"))
    del written["currency"]
    written["rules"][0]["price"] = 1.5
    written["rules"][0]["times"] = {"n": {"1": "1"}, "colour": {"otherwise": "x"}}
    written["rules"][1]["kinds"] = [5]
    written["rules"][2]["models"] = "kling-v1-5"
    written["rules"][2]["times"]["mode"] = {"pro": "-1", "otherwise": "NaN"}
    written["rules"][2]["times"]["duration"] = {"per": "0"}
    del written["rules"][3]
    with pytest.raises(ConfigurationError) as error:
        read_prices(written, "ours.json", ["text2video", "image2video", "videos/lip-sync"])
    assert {fault.field: fault.detail for fault in error.value.faults} == {
        "currency": "is required",
        "rules": 'must have a rule with model "*" for videos/lip-sync',
        "rules[0].price": 'must be a figure as text, such as "3.5"',
        "rules[0].times.n": "must have either `otherwise` or `per`, for values that are not listed",
        "rules[0].times.colour.otherwise": 'must be a figure as text, such as "3.5"',
        "rules[1].kinds[0]": "must be text",
        "rules[2].models": "must be a list",
        "rules[2].times.mode.pro": 'must be a figure as text, such as "3.5"',
        "rules[2].times.mode.otherwise": 'must be a figure as text, such as "3.5"',
        "rules[2].times.duration.per": "must not be 0",
    }


@pytest.mark.parametrize("written", [None, [], {}, {"rules": 5}, {"rules": [None, 3]}])
def test_an_invalid_price_list_is_refused(written: object) -> None:
    with pytest.raises(ConfigurationError):
        read_prices(written, "x")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="does not exist"):
        load_prices(tmp_path / "absent.json")
