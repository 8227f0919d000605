"""The rule book, prices, quotes and usage."""

from datetime import UTC, datetime

import pytest

from tests.support.relay import ApiServer


async def test_the_rule_book_and_the_price_list_can_be_read(api: ApiServer) -> None:
    _, rules = await api.get("/v1/rulebook")
    _, prices = await api.get("/v1/prices")
    assert rules["name"] == "seed"
    assert "kling-v1" in rules["operations"]["videos/text2video"]["models"]
    assert prices["currency"]


async def test_a_quote_is_the_price_of_the_order_and_orders_nothing(api: ApiServer) -> None:
    order = {"prompt": "a", "mode": "pro", "duration": "10"}
    status, quote = await api.post("/v1/quotes", {"operation": "videos/text2video", **order})
    assert (status, quote["amount"], quote["kind"]) == (200, "7", "text2video")
    assert api.provider.orders == []
    task = await api.order(**order)
    _, shown = await api.get(f"/v1/tasks/{task}")
    assert shown["charge"]["quote"] == quote["amount"]


@pytest.mark.parametrize("kind", ["text2image", "image2image", "text2video"])
async def test_a_quote_accepts_a_kind_in_place_of_an_operation(api: ApiServer, kind: str) -> None:
    operation = "videos/text2video" if kind == "text2video" else "images/generations"
    by_kind = await api.post("/v1/quotes", {"kind": kind, "prompt": "a"})
    assert by_kind == await api.post("/v1/quotes", {"operation": operation, "prompt": "a"})
    assert by_kind[0] == 200


@pytest.mark.parametrize(
    ("content", "field"),
    [
        ({"prompt": "a"}, "operation or kind"),
        ({"operation": "x", "prompt": "a"}, "operation"),
        ({"kind": "x", "prompt": "a"}, "kind"),
        ({"operation": "videos/text2video", "kind": "text2video", "prompt": "a"}, "operation or kind"),
        ({"operation": "videos/text2video"}, "prompt"),
        ({"kind": "text2video"}, "prompt"),
    ],
)
async def test_a_quote_names_the_field_that_is_wrong(api: ApiServer, content: object, field: str) -> None:
    status, body = await api.post("/v1/quotes", content)
    assert (status, [fault["field"] for fault in body["errors"]]) == (400, [field])


async def test_a_quote_needs_an_object(api: ApiServer) -> None:
    status, body = await api.post("/v1/quotes", [])
    assert (status, body["detail"]) == (400, "The body must be a JSON object.")


async def test_usage_counts_orders_charges_and_reservations(api: ApiServer) -> None:
    video, picture, failing = (
        await api.order("a"),
        await api.order("b", operation="images/generations", n=3),
        await api.order("c"),
    )
    await api.succeed(video)
    await api.send_callback(failing, "failed")
    _, by_day = await api.get("/v1/usage")
    today = datetime.now(UTC).strftime("%Y-%m-%d")
    assert len(by_day["data"]) == 1
    line = by_day["data"][0]
    assert line["by"] == {"day": today}
    assert (line["tasks"], line["succeeded"], line["failed"]) == (3, 1, 1)
    _, by_kind = await api.get("/v1/usage?by=kind,model")
    lines = {line["by"]["kind"]: line for line in by_kind["data"]}
    assert lines["text2video"]["charged"] == "1"
    assert lines["text2video"]["reserved"] == "0"
    assert (lines["text2image"]["tasks"], lines["text2image"]["charged"]) == (1, "0")
    assert lines["text2image"]["reserved"] == (await api.get(f"/v1/tasks/{picture}"))[1]["charge"]["quote"]
    for by in ("month", "mode", "key", "currency"):
        status, body = await api.get(f"/v1/usage?by={by}")
        assert (status, sum(line["tasks"] for line in body["data"])) == (200, 3)
    other = await api.create_key("other")
    assert (await api.get("/v1/usage", other))[1]["data"] == []


@pytest.mark.parametrize("query", ["by=colour", "since=2020-01-02&until=2020-01-01"])
async def test_an_invalid_usage_query_is_refused(api: ApiServer, query: str) -> None:
    assert (await api.get(f"/v1/usage?{query}"))[0] == 400
