"""What may be ordered, what it costs and what was used, over HTTP."""

from datetime import UTC, datetime

import pytest

from tests.support.relay import House


async def test_the_rule_book_and_the_prices_can_be_read(home: House) -> None:
    _, rules = await home.get("/v1/rulebook")
    _, prices = await home.get("/v1/prices")
    assert rules["name"] == "seed"
    assert "kling-v1" in rules["operations"]["videos/text2video"]["models"]
    assert prices["currency"]


async def test_a_quote_is_the_price_the_order_gets_and_orders_nothing(home: House) -> None:
    order = {"prompt": "a", "mode": "pro", "duration": "10"}
    status, quote = await home.post("/v1/quotes", {"operation": "videos/text2video", **order})
    assert (status, quote["amount"], quote["kind"]) == (200, "7", "text2video")
    assert home.provider.orders == []
    task = await home.order(**order)
    _, shown = await home.get(f"/v1/tasks/{task}")
    assert shown["charge"]["quote"] == quote["amount"]


@pytest.mark.parametrize("kind", ["text2image", "image2image", "text2video"])
async def test_a_quote_takes_a_kind_in_place_of_an_operation(home: House, kind: str) -> None:
    operation = "videos/text2video" if kind == "text2video" else "images/generations"
    by_kind = await home.post("/v1/quotes", {"kind": kind, "prompt": "a"})
    assert by_kind == await home.post("/v1/quotes", {"operation": operation, "prompt": "a"})
    assert by_kind[0] == 200


@pytest.mark.parametrize(
    ("content", "field"),
    [
        ({"prompt": "a"}, "operation"),
        ({"operation": "x", "prompt": "a"}, "operation"),
        ({"kind": "x", "prompt": "a"}, "kind"),
        ({"operation": "videos/text2video", "kind": "text2video", "prompt": "a"}, "operation"),
        ({"operation": "videos/text2video"}, "prompt"),
        ({"kind": "text2video"}, "prompt"),
    ],
)
async def test_a_quote_names_the_field_that_is_wrong(home: House, content: object, field: str) -> None:
    status, body = await home.post("/v1/quotes", content)
    assert (status, [fault["field"] for fault in body["errors"]]) == (400, [field])


async def test_a_quote_needs_an_object(home: House) -> None:
    status, body = await home.post("/v1/quotes", [])
    assert (status, body["detail"]) == (400, "The body must be a JSON object.")


async def test_usage_counts_what_was_ordered_charged_and_released(home: House) -> None:
    video, picture, failing = (
        await home.order("a"),
        await home.order("b", operation="images/generations", n=3),
        await home.order("c"),
    )
    await home.done(video)
    await home.called_back(failing, "failed")
    _, by_day = await home.get("/v1/usage")
    today = datetime.now(UTC).strftime("%Y-%m-%d")
    assert len(by_day["data"]) == 1
    line = by_day["data"][0]
    assert line["by"] == {"day": today}
    assert (line["tasks"], line["succeeded"], line["failed"]) == (3, 1, 1)
    _, by_kind = await home.get("/v1/usage?by=kind,model")
    lines = {line["by"]["kind"]: line for line in by_kind["data"]}
    assert lines["text2video"]["charged"] == "1"
    assert lines["text2video"]["reserved"] == "0"
    assert (lines["text2image"]["tasks"], lines["text2image"]["charged"]) == (1, "0")
    assert lines["text2image"]["reserved"] == (await home.get(f"/v1/tasks/{picture}"))[1]["charge"]["quote"]
    for by in ("month", "mode", "key", "currency"):
        status, said = await home.get(f"/v1/usage?by={by}")
        assert (status, sum(line["tasks"] for line in said["data"])) == (200, 3)
    other = await home.key_of("other")
    assert (await home.get("/v1/usage", other))[1]["data"] == []


@pytest.mark.parametrize("query", ["by=colour", "since=2020-01-02&until=2020-01-01"])
async def test_usage_of_nothing_that_can_be_is_refused(home: House, query: str) -> None:
    assert (await home.get(f"/v1/usage?{query}"))[0] == 400
