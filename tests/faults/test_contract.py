"""The whole API against its own document (schemathesis, every check), with keys of three scopes: no 5xx, no answer
that is not in the document, and not a word of another client's.
"""

import asyncio
import base64
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.config import GenerationConfig, ProjectConfig, ProjectsConfig, SchemathesisConfig
from schemathesis.core import NotSet
from schemathesis.core.parameters import ParameterLocation
from schemathesis.specs.openapi.checks import negative_data_rejection

from kling_relay.app import keys
from kling_relay.core.key import Scope
from kling_relay.sandbox import Profile
from kling_relay.store.embedded.server import Server
from tests.faults.client import Client
from tests.support.api_document import OPENAPI
from tests.support.postgres import fresh_database
from tests.support.service import running, sandboxed, subscriber
from tests.support.waiting import eventually
from tests.unit.test_image import png

EXAMPLES = {Scope.ADMIN: 8, Scope.READ: 3, Scope.SUBMIT: 2}
LENIENT = {
    f"{act}{operation}": "takes what real clients send: null or empty for unset, text for numbers, unknown members"
    for operation in ("images_generations", "videos_text2video", "videos_image2video")
    for act in ("order_", "list_")
} | {"quote": "an order, and taken as one"}
"""Operations that accept more than their schema says, and why. All others refuse what violates it."""
MARK = "only-the-owner-may-read-this"
PICTURE = base64.b64encode(png(300, 300)).decode()
NOBODYS = "http://127.0.0.1:65535/hook"
for form, strategy in {
    "uri": st.sampled_from([NOBODYS, NOBODYS + "?a=b&c=%20", "https://127.0.0.1:65535"]),
    "picture": st.sampled_from([PICTURE, "https://cdn.example/rabbit.png"]),
    "printable": st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=128),
}.items():
    schemathesis.openapi.format(form, strategy)
STREAMED = (5.0, 1.0)
"""Seconds within which a stream must begin, and after which the test stops reading it."""
CONFIG = SchemathesisConfig(
    projects=ProjectsConfig(
        # the key is always sent, so a case in which it alone is wrong would not be what it seems
        default=ProjectConfig(max_stream_events=20, generation=GenerationConfig(with_security_parameters=False))
    )
)
pytestmark = [
    pytest.mark.long,
    pytest.mark.asyncio(loop_scope="module"),
    # the service throws its dice in this process, at the same time, and Hypothesis takes them for a strategy's
    pytest.mark.filterwarnings("ignore:Do not use the .random. module"),
]
OPERATIONS = [
    pytest.param(path, method, id=operation["operationId"])
    for path, methods in OPENAPI["paths"].items()
    for method, operation in methods.items()
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """A running service with data of two clients; `own` and `foreign` are ids by the names of their parameters."""

    url: str
    schema: Any
    keys: dict[Scope, str]
    own: dict[str, str]
    foreign: dict[str, str]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ground(postgres: Server) -> AsyncIterator[Ground]:
    async with (
        fresh_database(postgres) as database,
        sandboxed(Profile(seconds=(0.05, 0.1))) as (_, provider),
        subscriber() as heard,
        running(database, provider) as relay,
    ):
        created = {
            scope: await keys.create_key(
                relay.parts.database,
                relay.parts.encryptor,
                f"fuzzed {scope}",
                client="fuzzed",
                scopes=frozenset({scope}),
            )
            for scope in Scope
        }
        document = await Client(relay.url, relay.client).got("/openapi.json")
        yield Ground(
            url=relay.url,
            schema=schemathesis.openapi.from_dict(document, config=CONFIG),
            keys=created,
            own=await _things(Client(relay.url, relay.client, created[Scope.ADMIN]), heard.url, "a rabbit"),
            foreign=await _things(Client(relay.url, relay.client), heard.url, MARK),
        )


async def _things(client: Client, url: str, prompt: str) -> dict[str, str]:
    """Return the ids of a task, a subscription and a delivery of the client."""
    subscription = await client.subscribed(url, description=prompt)
    task = await client.insist("word", prompt, external_task_id=prompt)
    await client.final(task)

    async def delivered() -> Any:
        return (await client.got("/v1/deliveries"))["data"]

    delivery = (await eventually(delivered))[0]["id"]
    return {"task": task, "subscription": subscription, "delivery": delivery}


@pytest.mark.parametrize("scope", Scope)
@pytest.mark.parametrize(("path", "method"), OPERATIONS)
async def test_every_answer_is_in_the_document(
    ground: Ground, is_long: bool, path: str, method: str, scope: Scope
) -> None:
    await asyncio.to_thread(_hammer, ground, path, method, scope, 100 if is_long else EXAMPLES[scope])


def _hammer(ground: Ground, path: str, method: str, scope: Scope, examples: int) -> None:
    operation = ground.schema[path][method.upper()]
    name = operation.definition.raw["operationId"]
    either = st.one_of([operation.as_strategy(mode) for mode in GenerationMode])
    place = next((name for name in ground.own if f"{{{name}}}" in path), None)
    ids = st.sampled_from([None, ground.own, ground.foreign])

    @settings(max_examples=examples, phases=[Phase.generate], suppress_health_check=list(HealthCheck), deadline=None)
    @given(case=either, things=ids)
    def hammer(case: Case[Any], things: dict[str, str] | None) -> None:
        if place and things:
            case.path_parameters[place] = things[place]
        if case.meta and case.meta.generation.mode.is_positive:
            _name(case.query, things)
            _order_in_time(case.query)
            _order_in_time(case.body)
            case.body = _storable(case.body) if name in LENIENT else case.body
        answer = case.call_and_validate(
            base_url=ground.url,
            headers={"Authorization": f"Bearer {ground.keys[scope]}"},
            excluded_checks=[negative_data_rejection] if name in LENIENT or not _is_wrong(case) else [],
            timeout=STREAMED if name == "stream_events" else 10,
        )
        assert MARK not in answer.text
        if place and things is ground.foreign:
            assert answer.status_code not in range(200, 300)

    hammer()


def _is_wrong(case: Case[Any]) -> bool:
    """Whether a case, as it is sent, violates its schema; a missing body does not."""
    wrong = {where for where, part in case.meta.components.items() if part.mode.is_negative} if case.meta else set()
    if isinstance(case.body, NotSet) and not case.operation.definition.raw.get("requestBody", {}).get("required"):
        wrong.discard(ParameterLocation.BODY)
    lists = {
        each["name"]
        for each in case.operation.definition.raw.get("parameters", [])
        if each["in"] == "query" and "'array'" in str(each["schema"])
    }
    sent = [value for name, value in (case.query or {}).items() if name in lists]
    if any(not "".join(map(str, value if isinstance(value, list) else [value])).strip(", ") for value in sent):
        wrong.discard(ParameterLocation.QUERY)  # on the wire this is the empty list, which the schema allows
    for where, members in ((ParameterLocation.QUERY, case.query), (ParameterLocation.BODY, case.body)):
        if isinstance(members, dict) and any(_is_number(members.get(name)) for name in ("since", "until")):
            wrong.discard(where)  # a time may be a number too; the schema leaves that out for generators of clients
    return bool(wrong)


def _is_number(value: Any) -> bool:
    try:
        return not isinstance(value, bool) and isinstance(float(value), float)
    except (TypeError, ValueError):
        return False


def _name(query: Any, things: dict[str, str] | None) -> None:
    """Replace invented ids by existing ones."""
    for name in (things or {}).keys() & (query or {}).keys():
        query[name] = (things or {})[name]


def _order_in_time(members: Any) -> None:
    """A schema cannot say that one field lies before another, or in the past."""
    if isinstance(members, dict) and "since" in members:
        members["since"] = "2026-01-01T00:00:00Z"
    if isinstance(members, dict) and "until" in members:
        members["until"] = "2027-01-01T00:00:00.5+01:00"


def _storable(value: Any) -> Any:
    """Unknown fields of an order may be anything without NUL and numbers beyond 64 bits, which a schema cannot say."""
    match value:
        case int() if not -(2**63) <= value < 2**63:
            return 0
        case str():
            return value.replace("\x00", "0")
        case dict():
            return {_storable(name): _storable(item) for name, item in value.items()}
        case list():
            return [_storable(item) for item in value]
        case _:
            return value
