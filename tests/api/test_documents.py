"""The OpenAPI and AsyncAPI documents: valid, complete, and true of real responses and deliveries."""

import asyncio
import re
from collections.abc import Iterator
from typing import Any, get_args, get_type_hints
from uuid import UUID

import pytest
from jsonschema.validators import Draft202012Validator  # type: ignore[import-untyped]  # it has no types of its own
from schemathesis.specs.openapi.definitions import OPENAPI_31_VALIDATOR

from kling_relay.client import Relay as Client
from kling_relay.core import callback_token
from kling_relay.core.event import BodyFormat, EventType
from kling_relay.web.http.routing import AnyRoute, Api
from kling_relay.web.spec import asyncapi
from kling_relay.web.spec.examples import BODIES
from tests.flows.money.test_budgets import limit
from tests.support.api_document import OPENAPI, ROUTES
from tests.support.relay import CALLBACK_KEY, ApiServer, serve_api
from tests.support.service import KEY, Relay, running, sandboxed, subscriber
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
    target = document
    for part in reference.removeprefix("#/").split("/"):
        target = target[part]
    return target


def schema_of(document: dict[str, Any], method: str, path: str, status: int) -> dict[str, Any]:
    """Return the schema of a response, with the document's components so that references resolve."""
    response = document["paths"][path][method.lower()]["responses"][str(status)]
    content = next(content for media, content in response["content"].items() if media.endswith("json"))
    return {**content["schema"], "components": document["components"]}


@pytest.mark.parametrize("document", [OPENAPI, asyncapi.document()], ids=["openapi", "asyncapi"])
def test_every_reference_in_a_document_resolves_and_every_schema_is_valid(document: dict[str, Any]) -> None:
    assert all(resolve(document, reference) is not None for reference in references(document))
    for schema in document["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


def schemas(tree: Any) -> Iterator[dict[str, Any]]:
    """Give every schema of a document that has a type, and every other object of it."""
    if isinstance(tree, dict):
        yield tree
        for name, value in tree.items():
            if name != "example":
                yield from schemas(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from schemas(value)


def types(schema: dict[str, Any]) -> list[Any]:
    kind = schema.get("type")
    return kind if isinstance(kind, list) else [kind]


@pytest.mark.parametrize("document", [OPENAPI, asyncapi.document()], ids=["openapi", "asyncapi"])
def test_every_number_of_a_document_has_64_bits(document: dict[str, Any]) -> None:
    numbers = [schema for schema in schemas(document) if {"integer", "number"} & {*map(str, types(schema))}]
    assert len(numbers) >= 5
    assert [schema for schema in numbers if "integer" in types(schema) and schema.get("format") != "int64"] == []
    assert [schema for schema in numbers if "number" in types(schema) and schema.get("format") != "double"] == []


@pytest.mark.parametrize("document", [OPENAPI, asyncapi.document()], ids=["openapi", "asyncapi"])
def test_a_type_or_null_is_a_list_of_types_with_null_among_its_values(document: dict[str, Any]) -> None:
    choices = [schema["anyOf"] for schema in schemas(document) if {"type": "null"} in schema.get("anyOf", [])]
    assert [options for options in choices if not any("$ref" in option for option in options)] == []
    nullable = [schema for schema in schemas(document) if "null" in types(schema) and schema != {"type": "null"}]
    assert len(nullable) >= 2
    assert [schema for schema in nullable if None not in schema.get("enum", [None])] == []


def test_the_openapi_document_matches_openapi_s_own_schema() -> None:
    document = OPENAPI
    OPENAPI_31_VALIDATOR.validate(document)
    assert not OPENAPI_31_VALIDATOR.is_valid({**document, "paths": {"/": {"get": {"responses": 200}}}})


def test_alternatives_of_a_request_are_components_with_a_discriminator() -> None:
    """Generators make types of combinations; of conditions (`if`, `dependentSchemas`) they make none, and need none."""
    components = OPENAPI["components"]["schemas"]
    for name, schema in components.items():
        if name.endswith("Order"):
            assert not {"allOf", "anyOf", "oneOf"} & schema.keys(), name
            for member in schema["properties"].values():
                assert not {"allOf", "anyOf", "oneOf", "const"} & member.keys(), (name, member)
    request = components["QuoteRequest"]
    assert request["discriminator"]["propertyName"] == "operation"
    assert [option["$ref"] for option in request["oneOf"]] == list(request["discriminator"]["mapping"].values())


def test_an_order_in_the_document_has_the_conditions_of_its_camera() -> None:
    document = OPENAPI
    order = {**document["components"]["schemas"]["VideosText2videoOrder"], "components": document["components"]}
    is_valid = Draft202012Validator(order).is_valid
    moves = {"type": "simple", "config": {"zoom": -3}}
    assert is_valid({"prompt": "a", "camera_control": moves})
    assert is_valid({"prompt": "a", "camera_control": {"config": {"zoom": 1}}, "mode": "std", "duration": "5"})
    assert is_valid({"prompt": "a", "camera_control": {"type": "forward_up"}})
    for wrong in (
        {"prompt": " \t"},
        {"prompt": "a\x00b"},
        {"prompt": "a", "camera_control": moves, "mode": "pro"},
        {"prompt": "a", "camera_control": moves, "duration": "10"},
        {"prompt": "a", "camera_control": {"type": "simple"}},
        {"prompt": "a", "camera_control": {"type": "simple", "config": {}}},
        {"prompt": "a", "camera_control": {"type": "simple", "config": {"zoom": 0}}},
        {"prompt": "a", "camera_control": {"type": "simple", "config": {"zoom": 1, "pan": 1}}},
        {"prompt": "a", "camera_control": {"type": "forward_up", "config": {"zoom": 1}}},
    ):
        assert not is_valid(wrong), wrong


def test_the_openapi_document_names_its_server_and_leaves_deliveries_to_asyncapi() -> None:
    document = OPENAPI
    assert [server["url"] for server in document["servers"]] == ["/"]
    assert "webhooks" not in document
    assert "/asyncapi.json" in document["info"]["description"]


@pytest.mark.long
async def test_every_example_of_a_body_is_accepted(database: str) -> None:
    async with serve_api(database) as api:
        accepted = set()
        for path, method, operation, example in examples(OPENAPI):
            task = await api.order()
            _, created = await api.post("/v1/subscriptions", {"url": "http://127.0.0.1:1/hook"})
            token = callback_token.make([CALLBACK_KEY], UUID(task))
            filled = path.format(task=task, subscription=created["id"], token=token)
            status, body = await api.call(method, filled, json=example)
            assert str(status) in operation["responses"], (path, body)
            assert status in range(200, 300), (path, body)
            accepted.add(operation["operationId"])
        assert accepted == BODIES.keys()


def examples(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any], Any]]:
    """Give the path, method, operation and example of every body that a request must have."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            body = operation.get("requestBody", {"required": False, "content": {}})
            for content in body["content"].values():
                assert ("example" in content) == body["required"]
                if "example" in content:
                    yield path, method.upper(), operation, content["example"]


def test_every_route_is_in_the_document_once_with_its_path_parameters() -> None:
    document = OPENAPI
    names = [operation["operationId"] for methods in document["paths"].values() for operation in methods.values()]
    assert sorted(names) == sorted(route.name for route in ROUTES)
    for path, methods in document["paths"].items():
        for operation in methods.values():
            path_parameters = {parameter["name"] for parameter in operation["parameters"] if parameter["in"] == "path"}
            assert path_parameters == set(re.findall(r"\{(\w+)\}", path))
            assert operation["summary"]


def test_operations_that_need_a_key_document_it_and_their_refusal() -> None:
    document = OPENAPI
    for route in ROUTES:
        operation = document["paths"][route.path][route.method.lower()]
        assert operation["security"] == ([] if route.scope is None else [{"key": []}, {"apiKey": []}])
        if route.scope is not None:
            shape = "KlingError" if route.api is Api.KLING else "Problem"
            (content,) = operation["responses"]["401"]["content"].values()
            assert content["schema"]["$ref"].endswith(shape)


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
def test_a_handler_takes_the_models_of_its_route(route: AnyRoute) -> None:
    handler = getattr(route.handler, "func", route.handler)  # Kling's routes are partials
    (request, *_) = get_type_hints(handler).values()
    models = [None if model is type(None) else model for model in get_args(request)]
    assert (models or [None, None]) == [route.query, route.body]


async def test_answers_match_their_description(database: str) -> None:
    async with serve_api(database) as api:
        task = await api.order(notify_hook="http://127.0.0.1:1/hook", external_task_id="mine")
        await api.succeed(task)
        _, created = await api.post("/v1/subscriptions", {"url": "http://127.0.0.1:1/hook"})
        _, tested = await api.post(f"/v1/subscriptions/{created['id']}/test", {})
        ids = {"task": task, "subscription": created["id"], "delivery": tested["delivery"]}
        document, checked = OPENAPI, 0
        for path, methods in document["paths"].items():
            if "get" not in methods or path == "/v1/events/stream":
                continue
            of_operation = path.startswith("/kling/v1/") and not path.startswith("/kling/v1/videos/text2video")
            if of_operation and "{task}" in path:  # it was ordered elsewhere
                continue
            status, body = await api.get(path.format(**ids))
            assert status == 200, (path, body)
            Draft202012Validator(schema_of(document, "GET", path, 200)).validate(body)
            checked += 1
        assert checked > 15
        await _check_errors(api, document)


async def _check_errors(api: ApiServer, document: dict[str, Any]) -> None:
    for method, path, key, content, status in (
        ("POST", "/kling/v1/videos/text2video", None, {}, 400),
        ("POST", "/kling/v1/videos/text2video", "no-such-key", {"prompt": "x"}, 401),
        ("POST", "/v1/subscriptions", None, {"url": 3}, 400),
        ("GET", "/v1/tasks", "no-such-key", None, 401),
    ):
        actual, body = await api.call(method, path, key, json=content)
        assert actual == status
        Draft202012Validator(schema_of(document, method, path, status)).validate(body)


def described(document: dict[str, Any], form: str, kind: str) -> tuple[dict[str, Any], Draft202012Validator]:
    """Return a message of the AsyncAPI document and a validator of its payload."""
    message = document["components"]["messages"][f"{form}.{kind}"]
    schema = {**message["payload"], "components": document["components"]}
    return message, Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER)


async def _cause_every_event(relay: Relay, gone: str) -> None:
    """Cause events of every type: a success, a failure, a subscriber that is gone, a budget nearly used up."""
    created = await relay.subscribe(gone, events=["task.succeed"])
    await limit(relay, total="2")
    await relay.final(await relay.submit("a rabbit", external_task_id="mine"))
    await relay.final(await relay.submit("a rabbit [fail:too dark]"))
    await relay.final(await relay.submit("a rabbit"))

    async def is_disabled() -> bool:
        _, body = await relay.call("GET", f"/v1/subscriptions/{created['id']}")
        return bool(body["status"] == "disabled")

    await eventually(is_disabled)


@pytest.mark.parametrize("form", list(BodyFormat))
@pytest.mark.long
async def test_deliveries_match_the_asyncapi_document(database: str, form: BodyFormat) -> None:
    document = asyncapi.document()
    async with (
        sandboxed() as (_, url),
        running(database, url) as relay,
        subscriber() as receiver,
        subscriber(answers=[410]) as gone,
    ):
        created = await relay.subscribe(receiver.url, format=form.value)
        await relay.call("POST", f"/v1/subscriptions/{created['id']}/test", json={})
        await _cause_every_event(relay, gone.url)
        kinds: set[str] = set()

        def has_every_type() -> bool:
            kinds.update(
                request.json.get("type") or f"task.{request.json['task_status']}" for request in receiver.heard
            )
            return kinds == {kind.value for kind in EventType}

        await eventually(has_every_type)
        headers = document["components"]["schemas"]["SignatureHeaders"]
        for request in receiver.heard:
            kind = request.json.get("type") or f"task.{request.json['task_status']}"
            message, validator = described(document, form.value, kind)
            validator.validate(request.json)
            Draft202012Validator(headers).validate(request.headers)
            assert request.headers["content-type"].partition(";")[0] == message["contentType"]
            others = [other.value for other in EventType if other.value != kind]
            assert not any(described(document, form.value, other)[1].is_valid(request.json) for other in others)


async def test_streamed_events_match_the_asyncapi_document(database: str) -> None:
    document = asyncapi.document()
    allowed = document["channels"]["stream"]["messages"]
    async with sandboxed() as (_, url), running(database, url) as relay, subscriber(answers=[410]) as gone:
        await _cause_every_event(relay, gone.url)
        kinds: set[str] = set()
        async with Client(relay.url, KEY) as client, asyncio.timeout(20):
            async for event in client.stream(after="0"):
                body = {"type": event.type, "timestamp": event.timestamp, "data": dict(event.data)}
                message, validator = described(document, "standard", event.type)
                assert message["name"] == event.type
                assert f"standard.{event.type}" in allowed
                validator.validate(body)
                kinds.add(event.type)
                if len(kinds) == len(EventType) - 1:  # a test is for its subscription alone
                    break
        assert EventType.SUBSCRIPTION_TEST not in kinds
