"""The whole API against its own document (schemathesis, every check), with keys of three scopes: no 5xx, no answer
that is not in the document, and not a word of another client's.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from service.app import keys
from service.core.key import Scope
from service.sandbox import Temper
from service.store.embedded import Server
from service.web import openapi
from tests.faults.client import Client
from tests.support.postgres import fresh_database
from tests.support.service import running, sandboxed, subscriber
from tests.support.waiting import eventually

EXAMPLES = {Scope.ADMIN: 5, Scope.READ: 2, Scope.SUBMIT: 1}
EXCLUDED: list[Any] = [positive_data_acceptance, negative_data_rejection]
"""Rule books, budgets and addresses refuse what a JSON Schema lets through; and what is negated may be the missing key,
which we then send, or an odd query, which Kling's paths take. All other checks hold."""
MARK = "only-the-owner-may-read-this"
pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    # the service throws its dice in this process, at the same time, and Hypothesis takes them for a strategy's
    pytest.mark.filterwarnings("ignore:Do not use the .random. module"),
]
LONG_POLLS = {"stream_events"}
"""Answers that do not end."""
OPERATIONS = [
    (path, method)
    for path, methods in openapi.document()["paths"].items()
    for method, operation in methods.items()
    if operation["operationId"] not in LONG_POLLS
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """A running service with things of two clients; `own` and `foreign` are ids by the name of their parameter."""

    url: str
    document: dict[str, Any]
    keys: dict[Scope, str]
    own: dict[str, str]
    foreign: dict[str, str]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ground(postgres: Server) -> AsyncIterator[Ground]:
    async with (
        fresh_database(postgres) as database,
        sandboxed(Temper(seconds=(0.05, 0.1))) as (_, provider),
        subscriber() as heard,
        running(database, provider) as relay,
    ):
        created = {
            scope: await keys.create(
                relay.parts.database, relay.parts.sealer, f"fuzzed {scope}", client="fuzzed", scopes=frozenset({scope})
            )
            for scope in Scope
        }
        document = await Client(relay.url, relay.client).got("/openapi.json")
        yield Ground(
            url=relay.url,
            document=document,
            keys=created,
            own=await _things(Client(relay.url, relay.client, created[Scope.ADMIN]), heard.url, "a rabbit"),
            foreign=await _things(Client(relay.url, relay.client), heard.url, MARK),
        )


async def _things(client: Client, url: str, prompt: str) -> dict[str, str]:
    """Return ids of one task, one subscription and one delivery of the client's."""
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
    operation = schemathesis.openapi.from_dict(ground.document)[path][method.upper()]
    either = st.one_of([operation.as_strategy(mode) for mode in GenerationMode])
    place = next((name for name in ground.own if f"{{{name}}}" in path), None)
    ids = st.sampled_from([None, ground.own, ground.foreign])

    @settings(max_examples=examples, phases=[Phase.generate], suppress_health_check=list(HealthCheck), deadline=None)
    @given(case=either, things=ids)
    def hammer(case: Case[Any], things: dict[str, str] | None) -> None:
        (case.query or {}).pop("wait", None)
        if place and things:
            case.path_parameters[place] = things[place]
        answer = case.call_and_validate(
            base_url=ground.url,
            headers={"Authorization": f"Bearer {ground.keys[scope]}"},
            excluded_checks=EXCLUDED,
            timeout=10,
        )
        assert MARK not in answer.text
        if place and things is ground.foreign:
            assert answer.status_code not in range(200, 300)

    hammer()
