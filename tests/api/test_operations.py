"""Operations come from the rule book: one that is added in JSON alone is served, priced, described and listed."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kling_relay.core.rulebook import Rulebook
from kling_relay.flows.submit import Submit
from kling_relay.provider.price_file import PRICES, load_prices
from kling_relay.provider.rulebook_file import RULEBOOKS, load_rulebook
from kling_relay.web.http.context import Context
from kling_relay.web.spec import openapi
from tests.support.relay import ApiServer, serve_api

EXTEND: dict[str, Any] = {
    "makes": "videos",
    "default_model": "kling-v1",
    "fields": {
        "video_id": {"type": "text", "max_length": 64, "required": True},
        "prompt": {"type": "text", "max_length": 500},
        "duration": {"type": "choice", "values": ["5", "10"], "default": "5"},
    },
    "models": {"kling-v1": {}, "*": {}},
}
PRICE = {"kinds": ["videos/video-extend"], "models": ["*"], "price": "1", "times": {"duration": {"per": "5"}}}
PATH = "/kling/v1/videos/video-extend"


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """Return a rule book with one more operation, and a price list with one more line."""
    book = json.loads((RULEBOOKS / "seed.json").read_text(encoding="utf-8"))
    book["operations"]["videos/video-extend"] = EXTEND
    prices = json.loads((PRICES / "seed.json").read_text(encoding="utf-8"))
    prices["rules"].insert(0, PRICE)
    (tmp_path / "book.json").write_text(json.dumps(book), encoding="utf-8")
    (tmp_path / "prices.json").write_text(json.dumps(prices), encoding="utf-8")
    return tmp_path / "book.json", tmp_path / "prices.json"


@pytest.fixture
def book(files: tuple[Path, Path]) -> Rulebook:
    return load_rulebook(files[0])


@pytest.fixture
async def api(database: str, files: tuple[Path, Path], book: Rulebook) -> AsyncIterator[ApiServer]:
    prices = load_prices(files[1], book.kinds)

    def change(context: Context) -> Context:
        assert isinstance(context.submit, Submit)
        return replace(context, rulebook=book, prices=prices, submit=replace(context.submit, prices=prices))

    async with serve_api(database, change=change) as server:
        yield server


async def test_an_operation_of_the_book_is_served_checked_priced_and_listed(api: ApiServer) -> None:
    status, refused = await api.post(PATH, {"duration": "7"})
    assert (status, refused["code"]) == (400, 1201)
    assert "video_id is required" in refused["message"]
    status, created = await api.post(PATH, {"video_id": "v-1", "duration": "10"})
    assert (status, created["code"]) == (200, 0)
    task = created["data"]["task_id"]
    _, detail = await api.get(f"/v1/tasks/{task}")
    assert (detail["kind"], detail["duration"], detail["unknown_fields"]) == ("videos/video-extend", "10", [])
    _, price = await api.post("/v1/quotes", {"kind": "videos/video-extend", "video_id": "v-1", "duration": "10"})
    assert (price["amount"], price["kind"]) == ("2", "videos/video-extend")
    _, page = await api.get(PATH)
    assert [item["task_id"] for item in page["data"]] == [task]
    _, tasks = await api.get("/v1/tasks?kind=videos/video-extend")
    assert [item["task_id"] for item in tasks["data"]] == [task]


async def test_a_task_is_shown_at_its_own_operation_only(api: ApiServer) -> None:
    _, created = await api.post(PATH, {"video_id": "v-1"})
    task = created["data"]["task_id"]
    assert [(await api.get(f"/kling/v1/videos/{name}/{task}"))[0] for name in ("video-extend", "text2video")] == [
        200,
        404,
    ]


async def test_an_operation_of_the_book_is_in_the_api_document(book: Rulebook) -> None:
    document = openapi.document(book)
    order = document["paths"][PATH]["post"]["requestBody"]["content"]["application/json"]
    assert order["example"] == {"video_id": "A rabbit reads a newspaper"}
    schema = document["components"]["schemas"]["VideosVideoExtendOrder"]
    assert schema["required"] == ["video_id"]
    assert {"video_id", "prompt", "duration", "model_name", "notify_hook"} <= set(schema["properties"])


@pytest.mark.parametrize("prefix", ["/kling/v1", "/proxy/kling/v1", "/v1"])
@pytest.mark.parametrize("path", ["videos/lip-sync", "images/editing/expand", "audio/tts", "account/costs"])
@pytest.mark.long
async def test_a_path_that_is_not_served_says_so_in_klings_envelope(api: ApiServer, prefix: str, path: str) -> None:
    status, answer = await api.post(f"{prefix}/{path}", {})
    assert (status, answer["code"]) == (404, 1203)
    assert answer["message"] == (
        f"{path} is not offered here; it has images/generations, videos/text2video, videos/image2video, "
        "videos/video-extend."
    )


async def test_a_wrong_key_is_reported_before_a_path_that_is_not_served(api: ApiServer) -> None:
    status, answer = await api.get("/kling/v1/account/costs", headers={"Authorization": "Bearer wrong"})
    assert (status, answer["code"]) == (401, 1002)


def test_prices_must_cover_every_operation_of_the_book(book: Rulebook) -> None:
    with pytest.raises(ValueError, match='must have a rule with model "\\*" for videos/video-extend'):
        load_prices("seed", book.kinds)


async def test_a_kind_that_the_book_does_not_have_is_refused(api: ApiServer) -> None:
    status, answer = await api.get("/v1/tasks?kind=text2vidoe")
    assert status == 400
    assert answer["errors"] == [
        {
            "field": "kind",
            "detail": "must be one of text2image, image2image, text2video, image2video, videos/video-extend",
        }
    ]
