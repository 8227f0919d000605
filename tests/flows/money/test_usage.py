"""Usage has the ledger's sums however it is grouped; it outlives the tasks, and spreadsheets can read it."""

import csv
import io
from decimal import Decimal
from itertools import combinations
from typing import Any

import pytest

from kling_relay.cli.output import Output
from kling_relay.cli.usage import draw
from kling_relay.client.models import Usage, UsageLine
from kling_relay.core.budget import Limits
from kling_relay.store.money import budgets
from kling_relay.store.money.usage import UsageGroup, to_csv
from tests.support.relay import VIDEO, ApiServer, serve_api

GROUPS = ("day", "month", "kind", "model", "mode", "key", "client", "currency")


@pytest.fixture
async def used(database: str) -> Any:
    """A server with three tasks that ended, each in its own way, and one that is open."""
    async with serve_api(database) as api:
        dear, absurd = await api.order("a", mode="pro"), await api.order("b")
        await api.send_callback(dear, "succeed", task_result=VIDEO, final_unit_deduction="4.25")
        await api.send_callback(absurd, "succeed", task_result=VIDEO, final_unit_deduction="99999999999")
        await api.send_callback(await api.order("c", duration="10"), "failed", final_unit_deduction="9")
        await api.order("d", operation="images/generations", n=3)
        yield api


async def test_usage_has_the_ledger_s_sums_however_it_is_grouped(used: ApiServer) -> None:
    (whole,) = await used.database.pool.fetch("SELECT sum(reserved) AS reserved, sum(charged) AS charged FROM ledger")
    assert (whole["charged"], whole["reserved"]) == (Decimal("5.25"), Decimal(3))
    for by in [*combinations(GROUPS, 1), *combinations(GROUPS, 2), GROUPS]:
        _, answer = await used.get(f"/v1/usage?by={','.join(by)}")
        for figure in ("reserved", "charged"):
            assert sum(Decimal(line[figure]) for line in answer["data"]) == whole[figure], by
        assert sum(line["tasks"] for line in answer["data"]) == 4


async def test_usage_outlives_the_tasks(used: ApiServer) -> None:
    _, before = await used.get("/v1/usage?by=kind,model,mode")
    await used.database.pool.execute("TRUNCATE tasks")
    _, after = await used.get("/v1/usage?by=kind,model,mode")
    assert after["data"] == before["data"]
    assert {line["by"]["kind"] for line in after["data"]} == {"text2video", "text2image"}


@pytest.mark.parametrize(
    ("query", "accept", "is_csv"),
    [
        ("&format=csv", "application/json", True),
        ("", "text/csv", True),
        ("", "text/csv, application/json;q=0.5", True),
        ("", "application/json, text/csv", False),
        ("&format=json", "text/csv", False),
        ("", "*/*", False),
    ],
)
@pytest.mark.long
async def test_usage_is_csv_if_the_request_asks_for_it(used: ApiServer, query: str, accept: str, is_csv: bool) -> None:
    status, body, headers = await used.call_with_headers(
        "GET", f"/v1/usage?by=kind,mode{query}", headers={"Accept": accept}
    )
    assert status == 200
    if not is_csv:
        assert body["data"]
        return
    assert headers["Content-Type"] == "text/csv; charset=utf-8"
    rows = list(csv.DictReader(io.StringIO(body.decode())))
    assert list(rows[0]) == ["kind", "mode", "currency", "tasks", "succeeded", "failed", "reserved", "charged"]
    assert {(row["kind"], row["mode"]): row["charged"] for row in rows} == {
        ("text2image", ""): "0",
        ("text2video", "std"): "1",
        ("text2video", "pro"): "4.25",
    }


def test_a_spreadsheet_evaluates_no_text_of_the_csv() -> None:
    line = UsageGroup(
        by={"model": '=HYPERLINK("x")'},
        currency="unit",
        tasks=1,
        succeeded=0,
        failed=0,
        reserved=Decimal("-1.50"),
        charged=Decimal(0),
    )
    (_, row) = csv.reader(io.StringIO(to_csv([line], ["model", "model"])))
    assert row == ['\'=HYPERLINK("x")', "unit", "1", "0", "0", "-1.5", "0"]


async def test_a_charge_that_is_not_a_number_is_noted_on_its_task(used: ApiServer) -> None:
    _, tasks = await used.get("/v1/tasks")
    details = [(await used.get(f"/v1/tasks/{task['task_id']}"))[1] for task in tasks["data"]]
    charge = {detail["fields"]["prompt"]: detail["charge"] for detail in details}
    assert {prompt: (detail["state"], detail["quote"], detail["charged"]) for prompt, detail in charge.items()} == {
        "a": ("settled", "3.5", "4.25"),
        "b": ("settled", "1", "1"),
        "c": ("released", "2", "0"),
        "d": ("reserved", "3", "0"),
    }
    assert {detail["prices"] for detail in charge.values()} == {"seed@2024-09-10"}
    assert charge["a"]["note"] is None
    assert charge["b"]["note"] == "the provider's charge '99999999999' is not a figure; the quote 1 is charged"


async def test_a_client_sees_its_limits_and_what_it_has_spent(used: ApiServer) -> None:
    await budgets.set_limits(used.database, "tests", Limits(total=Decimal(5), open=Decimal(10)), of_key=False)
    status, answer = await used.get("/v1/budget")
    assert (status, answer["currency"]) == (200, "unit")
    assert answer["client"] == {
        "name": "tests",
        "limits": {"total": "5", "day": None, "month": None, "open": "10"},
        "spent": {"total": "8.25", "day": "8.25", "month": "8.25", "open": "3"},
        "left": {"total": "0", "day": None, "month": None, "open": "7"},
    }
    assert answer["key"]["spent"] == answer["client"]["spent"]
    assert answer["key"]["limits"] == dict.fromkeys(("total", "day", "month", "open"))
    other = await used.create_key("other")
    assert (await used.get("/v1/budget", other))[1]["client"]["spent"]["total"] == "0"


def test_usage_is_charted_with_sums_by_currency(capsys: pytest.CaptureFixture[str]) -> None:
    def line(day: str, tasks: int, charged: str, currency: str = "unit") -> UsageLine:
        return UsageLine(
            by={"day": day}, currency=currency, tasks=tasks, succeeded=1, failed=0, reserved="0", charged=charged
        )

    lines = (line("01", 1, "0.01"), line("02", 12, "1000.5"), line("02", 3, "7", "CNY"), line("03", 4, "8", "CNY"))
    draw(Output(), Usage(since="", until="", data=lines), ("day",))
    assert [line.rstrip() for line in capsys.readouterr().out.splitlines()] == [
        "DAY  TASKS  SUCCEEDED  FAILED  RESERVED  CHARGED",
        "01       1          1       0         0     0.01  unit  ▏",
        "02      12          1       0         0   1000.5  unit  ████████████████████████",
        "02       3          1       0         0        7  CNY   █████████████████████",
        "03       4          1       0         0        8  CNY   ████████████████████████",
        "sum     13          2       0         0  1000.51  unit",
        "sum      7          2       0         0       15  CNY",
    ]
