"""The descriptions of the API and of the events: well-formed, complete, and true of what is answered and delivered."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema.validators import Draft202012Validator  # type: ignore[import-untyped]  # it has no types of its own

from service.core.event import Format, Type
from service.web import asyncapi, openapi
from service.web.call import Family
from service.web.routes import ROUTES
from tests.support.house import House, house
from tests.support.service import running, sandboxed, subscriber
from tests.support.waiting import eventually


def references(tree: Any) -> Iterator[str]:
    if isinstance(tree, dict):
        if isinstance(tree.get("$ref"), str):
            yield tree["$ref"]
        for value in tree.values():
            yield from references(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from references(value)


def resolve(document: Any, reference: str) -> Any:
    found = document
    for part in reference.removeprefix("#/").split("/"):
        found = found[part]
    return found


def schema_of(document: dict[str, Any], method: str, path: str, status: int) -> dict[str, Any]:
    """Return the schema of an answer, with the document's components beside it so that references resolve."""
    answer = document["paths"][path][method.lower()]["responses"][str(status)]
    content = next(content for media, content in answer["content"].items() if media.endswith("json"))
    return {**content["schema"], "components": document["components"]}


@pytest.mark.parametrize("document", [openapi.document(), asyncapi.document()], ids=["openapi", "asyncapi"])
def test_whatever_a_document_refers_to_is_there_and_every_schema_is_one(document: dict[str, Any]) -> None:
    assert all(resolve(document, reference) is not None for reference in references(document))
    for schema in document["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


def test_every_route_is_described_once_with_its_parameters() -> None:
    document = openapi.document()
    names = [operation["operationId"] for methods in document["paths"].values() for operation in methods.values()]
    assert sorted(names) == sorted(route.name for route in ROUTES)
    for path, methods in document["paths"].items():
        for operation in methods.values():
            said = {each["name"] for each in operation["parameters"] if each["in"] == "path"}
            assert said == set(re.findall(r"\{(\w+)\}", path))
            assert operation["summary"]


def test_what_needs_a_key_says_so_and_how_it_is_refused() -> None:
    document = openapi.document()
    for route in ROUTES:
        operation = document["paths"][route.path][route.method.lower()]
        assert ("security" in operation) == (route.scope is not None)
        if route.scope is not None:
            shape = "KlingRefusal" if route.family is Family.KLING else "Problem"
            (content,) = operation["responses"]["401"]["content"].values()
            assert content["schema"]["$ref"].endswith(shape)


async def test_what_is_answered_is_what_is_described(database: str) -> None:
    async with house(database) as it:
        task = await it.order(notify_hook="http://127.0.0.1:1/hook", external_task_id="mine")
        await it.done(task)
        _, made = await it.post("/v1/subscriptions", {"url": "http://127.0.0.1:1/hook"})
        _, tested = await it.post(f"/v1/subscriptions/{made['id']}/test", {})
        given = {"task": task, "subscription": made["id"], "delivery": tested["delivery"]}
        document, looked = openapi.document(), 0
        for path, methods in document["paths"].items():
            if "get" not in methods or path == "/v1/events/stream":
                continue
            status, body = await it.get(path.format(**given))
            assert status == 200, (path, body)
            Draft202012Validator(schema_of(document, "GET", path, 200)).validate(body)
            looked += 1
        assert looked > 15
        await _refusals(it, document)


async def _refusals(it: House, document: dict[str, Any]) -> None:
    for method, path, key, content, status in (
        ("POST", "/kling/v1/videos/text2video", None, {}, 400),
        ("POST", "/kling/v1/videos/text2video", "no-such-key", {"prompt": "x"}, 401),
        ("POST", "/v1/subscriptions", None, {"url": 3}, 400),
        ("GET", "/v1/tasks", "no-such-key", None, 401),
    ):
        said, body = await it.call(method, path, key, json=content)
        assert said == status
        Draft202012Validator(schema_of(document, method, path, status)).validate(body)


@pytest.mark.parametrize("form", list(Format))
async def test_what_is_delivered_is_what_is_described(database: str, form: Format) -> None:
    document = asyncapi.document()
    async with sandboxed() as (_, url), running(database, url) as relay, subscriber() as hearer:
        made = await relay.subscribe(hearer.url, format=form.value)
        await relay.final(await relay.submit("a rabbit", external_task_id="mine"))
        await relay.call("POST", f"/v1/subscriptions/{made['id']}/test", json={})
        await eventually(lambda: len(hearer.ids()) == 4)
        kinds = set()
        for heard in hearer.heard:
            kind = heard.json.get("type") or f"task.{heard.json['task_status']}"
            message = document["components"]["messages"][f"{form.value}.{kind}"]
            schema = {**message["payload"], "components": document["components"]}
            Draft202012Validator(schema).validate(heard.json)
            assert heard.headers["content-type"].partition(";")[0] == message["contentType"]
            assert all(name in heard.headers for name in document["components"]["schemas"]["Signed"]["required"])
            kinds.add(kind)
        assert kinds == {Type.TASK_SUBMITTED, Type.TASK_PROCESSING, Type.TASK_SUCCEED, Type.SUBSCRIPTION_TEST}
