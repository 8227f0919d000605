"""Clients of Kling's newer models with the rule book `kling-2026`, and what the default rule book says to them."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from kling_relay.store.embedded.server import Server
from tests.api.clients.conftest import Service
from tests.api.clients.test_web_ui import JPEG
from tests.support.postgres import fresh_database
from tests.support.service import Relay, running, sandboxed

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def newer(postgres: Server) -> AsyncIterator[Relay]:
    """A service whose orders are checked by Kling's own limits, and priced by its list."""
    async with (
        fresh_database(postgres) as database,
        sandboxed() as (_, provider),
        running(database, provider, rulebook="kling-2026", prices="kling-2026") as relay,
    ):
        yield relay


ORDERS: dict[str, tuple[str, dict[str, Any]]] = {
    "the web UI's usual model": ("videos/text2video", {"model": "kling-v1-6", "mode": "std", "image": ""}),
    "a master": ("videos/text2video", {"model_name": "kling-v2-master", "duration": "5", "aspect_ratio": "16:9"}),
    "a master that an SDK sends the usual cfg_scale to": (
        "videos/text2video",
        {"model_name": "kling-v2-1-master", "cfg_scale": 0.5, "negative_prompt": None},
    ),
    "turbo, between two pictures": (
        "videos/image2video",
        {"model_name": "kling-v2-5-turbo", "image": JPEG, "image_tail": JPEG, "mode": "pro"},
    ),
    "sound": ("videos/text2video", {"model_name": "kling-v2-6", "mode": "pro", "sound": "on"}),
    "four times thousand, twelve seconds": (
        "videos/text2video",
        {"model_name": "kling-v3", "mode": "4k", "duration": 12},
    ),
    "a long prompt": ("videos/text2video", {"prompt": "兔" * 2500, "model_name": "kling-v1"}),
    "only the last picture": ("videos/image2video", {"model_name": "kling-v1-6", "image_tail": JPEG, "mode": "pro"}),
    "a wide picture": ("images/generations", {"model_name": "kling-v2-1", "aspect_ratio": "21:9", "n": 1.0}),
    "a model of tomorrow": ("videos/text2video", {"model_name": "kling-v9-turbo", "mode": "pro"}),
}


@pytest.mark.parametrize("name", ORDERS)
@pytest.mark.long
async def test_an_order_of_a_newer_model_succeeds(newer: Relay, name: str) -> None:
    operation, order = ORDERS[name]
    task = await newer.submit(**{"prompt": "a rabbit", **order}, operation=operation)
    assert (await newer.final(task))["task_status"] == "succeed"


@pytest.mark.parametrize(
    ("order", "member"),
    [
        ({"model_name": "kling-v1-5"}, "model_name"),
        ({"model_name": "kling-v2-6", "duration": "12"}, "duration"),
        ({"model_name": "kling-v2-6", "mode": "4k"}, "mode"),
        ({"model_name": "kling-v1-6", "camera_control": {"type": "down_back"}}, "camera_control"),
        ({"prompt": "兔" * 2501}, "prompt"),
    ],
)
async def test_an_unsupported_feature_of_a_newer_model_is_refused_before_it_costs_anything(
    newer: Relay, order: dict[str, Any], member: str
) -> None:
    status, body = await newer.call("POST", "/v1/videos/text2video", json={"prompt": "a rabbit", **order})
    assert (status, body["code"]) == (400, 1201)
    assert member in body["error"]["message"]


async def test_the_default_rule_book_names_the_models_that_it_accepts(service: Service) -> None:
    status, body, _ = await service.send("POST", "/kling/v1/videos/text2video", {"prompt": "a", "model": "kling-v1-6"})
    assert (status, body["code"]) == (400, 1201)
    assert "must be one of kling-v1, but is kling-v1-6" in body["error"]["message"]
