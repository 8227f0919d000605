"""Logs: one line for each thing that happened, with all its details and without secrets."""

import io
import logging
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import orjson
import pytest

from kling_relay.core.delivery import SubscriberResponse
from kling_relay.core.submission import Accepted, AccountRefused, Unknown
from kling_relay.core.task import Signal, SignalKind, Status, Step, Task
from kling_relay.flows import log_context
from kling_relay.flows.observer import AnsweredRequest
from kling_relay.observe.event_log import Log
from kling_relay.observe.logging_setup import Level, set_up, tear_down
from kling_relay.observe.redact import HIDDEN, Redactor
from kling_relay.store.deliveries.outbox import SettledAttempt

TASK = UUID("019302ab-4c00-7000-8000-00000000000a")
KEY = UUID("019302ab-4c00-7000-8000-00000000000b")
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
OWN = "a provider key that looks like nothing"
PLANTED = {
    "a webhook secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "a client key": "kr-019302ab4c007000800000000000000a-Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4Zm9vYmFyYmE",
    "a provider key": "sk-proj-abcdefgh12345678",
    "a bearer": "Bearer abc.def-ghi_jkl",
    "a JWT": "eyJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJhayJ9.c2lnbmF0dXJl",
    "a database's password": "relay:correct-horse",
    "a callback's token": "Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4",
    "our own": OWN,
}
HIDING = {
    "a database's password": "cannot reach postgresql://{}@db.internal:5432/relay?x=1",
    "a callback's token": f"POST /callbacks/{TASK}/{{}} came back",
    "a bearer": "headers were {{'Authorization': '{}'}}",
}


@dataclass
class Written:
    """A log and what it wrote."""

    log: Log
    stream: io.BytesIO

    @property
    def text(self) -> str:
        return self.stream.getvalue().decode()

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [orjson.loads(line) for line in self.stream.getvalue().splitlines()]

    @property
    def line(self) -> dict[str, Any]:
        (only,) = self.lines
        return only


def begun(form: Any = "json", level: Level = "debug") -> Written:
    stream = io.BytesIO()
    return Written(set_up(form, level, secrets=[OWN], stream=stream), stream)


@pytest.fixture(autouse=True)
def _torn_down() -> Iterator[None]:
    level = logging.getLogger().level
    log_context.start()
    yield
    tear_down()
    logging.getLogger().setLevel(level)


def request(route: str = "callback", status: int = 200) -> AnsweredRequest:
    return AnsweredRequest(route=route, method="POST", status=status, seconds=0.0123, request_id="r-1", key=KEY, code=0)


def test_a_request_is_one_line_with_all_its_fields() -> None:
    written = begun()
    log_context.start()
    log_context.add(task=TASK, trace="00-" + "a" * 32 + "-" + "b" * 16 + "-01", outcome="moved")
    written.log.request_answered(request())
    line = written.line
    assert {"at", "level", "event", "trace"} < line.keys()
    assert (line["event"], line["level"], line["status"], line["seconds"]) == ("callback", "info", 200, 0.0123)
    assert (line["task"], line["request_id"], line["key_id"], line["outcome"]) == (str(TASK), "r-1", str(KEY), "moved")
    assert "code" not in line


def test_fields_of_one_request_are_absent_from_the_next_ones_line() -> None:
    written = begun()
    log_context.start(request_id="r-0")
    log_context.add(task=TASK)
    log_context.start(request_id="r-1")
    written.log.request_answered(request("show_task"))
    assert "task" not in written.line


@pytest.mark.parametrize(
    ("route", "status", "level"),
    [
        ("livez", 200, "debug"),
        ("show_task", 404, "info"),
        ("callback", 503, "warning"),
        ("callback", 500, "error"),
        ("readyz", 503, "warning"),
    ],
)
def test_a_level_says_who_should_look(route: str, status: int, level: str) -> None:
    written = begun()
    written.log.request_answered(request(route, status))
    assert written.line["level"] == level


def test_a_batch_of_attempts_is_one_line_and_one_for_each_that_went_wrong() -> None:
    written = begun(level="info")
    written.log.attempts_settled([settled("delivered"), settled("delivered"), settled("failed"), settled("gone")])
    failed, gone, batch = written.lines
    assert failed["webhook_id"] == f"evt_{TASK.hex}_1"
    assert (failed["task"], failed["retry_in"], failed["error"]) == (str(TASK), 5.0, "timeout")
    assert (gone["level"], batch["event"]) == ("warning", "attempts")
    assert (batch["attempts"], batch["delivered"], batch["failed"], batch["gone"], batch["slowest"]) == (
        4,
        2,
        1,
        1,
        0.5,
    )


def settled(outcome: str) -> SettledAttempt:
    return SettledAttempt(
        subscription=KEY,
        subject=TASK,
        sequence=1,
        attempt=1,
        outcome=outcome,
        wait=5.0,
        at=NOW,
        latency=0.5,
        status=None,
        error="timeout",
        answer=None,
    )


def test_moves_orders_and_troubles_of_the_flows_are_logged() -> None:
    written = begun(level="info")
    log = written.log
    log.task_moved(step(Status.SUBMITTED), "query")
    log.task_moved(step(Status.SUCCEED), "callback")  # the callback's own line says it
    log.task_moved(step(Status.SUCCEED), "query")
    log.order_sent(Accepted("p-1", Signal(kind=SignalKind.SUBMITTED)), 0.2)
    log.order_sent(Unknown("the answer was lost"), 30.0)
    log.provider_refused_account(TASK, AccountRefused(1102, "no balance"))
    log.attempt_made("delivered", SubscriberResponse(status=200, error=None, retry_after=None, body=b"", latency=0.1))
    log.database_failed("fetch", ConnectionError("gone"))
    log.task_skipped(TASK, TimeoutError())
    log.subscription_disabled(KEY, "the subscriber answered 410 Gone")
    log.secrets_unreadable(KEY, ValueError("wrong key"))
    log.partitions_changed(4, 0)
    log.partitions_not_owned(PermissionError("not ours"))
    log.retention_enforced(0, 3)
    log.retention_enforced(2, 0)
    assert [(line["level"], line["event"]) for line in written.lines] == [
        ("info", "task moved"),
        ("warning", "order sent"),
        ("error", "the provider refuses our account"),
        ("error", "a database operation failed"),
        ("warning", "the sweep skipped a task and will try again"),
        ("warning", "subscription disabled"),
        ("error", "cannot decrypt a subscription's secrets or headers, so nothing is delivered to it"),
        ("info", "partitions changed"),
        ("warning", "cannot create or drop partitions: this database user does not own the tables"),
        ("info", "older than the retention"),
        ("warning", "older than the retention"),
    ]
    refused, failed, skipped = written.lines[2:5]
    assert (refused["task"], refused["code"], refused["reason"]) == (str(TASK), 1102, "no balance")
    assert "RELAY_PROVIDER_KEY" in refused["action"]
    assert (failed["flow"], failed["error"]) == ("fetch", "gone")
    assert (skipped["task"], skipped["error"]) == (str(TASK), "TimeoutError")


def step(status: Status) -> Step:
    return Step(Task(id=TASK, status=status, sequence=1, updated_at=NOW), Signal(kind=SignalKind.SUCCEED))


def hidden_everywhere(log: Log, secret: str, text: str) -> None:
    """Write lines that hold `secret` wherever a line can hold something."""
    log.info(text)
    log.info("an event", note=text, nested={"deep": [{"deeper": (text,)}]}, password=secret, api_key=secret)
    log.info("an object", thing=ValueError(text), raw=text.encode(), headers={"Authorization": secret})
    log.info("names", **{"x-ptoken": secret, "webhook_signature": secret, "hook_secret": secret})
    log.info("a key", nested={text: 1})
    logging.getLogger("aiohttp.server").error("failed with %s", text)
    logging.getLogger("aiohttp.server").error("args %r", {"text": text})
    try:
        breaks(secret, text)
    except RuntimeError as error:
        log.warning("it broke", exc_info=error)
        logging.getLogger("asyncio").exception("Task exception was never retrieved")


def breaks(secret: str, text: str) -> None:
    """Raise with `secret` among the locals of a frame."""
    assert secret
    raise RuntimeError(f"while sending: {text}") from KeyError(text)


@pytest.mark.parametrize("form", ["json", "human"])
@pytest.mark.parametrize("name", PLANTED)
def test_no_secret_is_in_any_line_wherever_it_was_planted(form: str, name: str) -> None:
    written = begun(form)
    secret = PLANTED[name]
    hidden_everywhere(written.log, secret, HIDING.get(name, "it says {} there").format(secret))
    assert written.text.count(HIDDEN) >= 8
    assert "RuntimeError" in written.text
    for part in secret.split() if name != "our own" else [secret]:
        assert part == "Bearer" or part not in written.text


def test_harmless_text_is_left_alone() -> None:
    line = {"event": "provider_task_id=8f3 took 3 tokens", "task": TASK, "url": "https://a.example/callbacks", "n": 3}
    assert Redactor([])(None, "info", dict(line)) == line


def test_libraries_log_the_same_way() -> None:
    written = begun(level="info")
    logging.getLogger("alembic.runtime").info("Running upgrade %s", "0001")
    logging.getLogger("aiohttp.access").info("GET /")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old words", DeprecationWarning, stacklevel=1)
    first, second = written.lines
    assert (first["event"], first["logger"], first["level"]) == ("Running upgrade 0001", "alembic.runtime", "info")
    assert second["level"] == "warning"
    assert "old words" in second["event"]


def test_a_fault_in_the_web_is_logged_with_its_request_but_one_in_a_batch_is_not() -> None:
    written = begun()
    log_context.start(request_id="r-9")
    logging.getLogger("kling_relay.web.dispatch").error("a request failed")
    logging.getLogger("kling_relay.flows.settlement").error("a batch failed")
    web, flow = written.lines
    assert web["request_id"] == "r-9"
    assert "request_id" not in flow


def test_a_value_that_json_cannot_hold_loses_no_line() -> None:
    written = begun()
    written.log.info("half a \ud800 pair", number=2**70, by={UUID(int=1): 1})
    written.log.info("a line\nbreak")
    assert [line["event"] for line in written.lines] == ["half a ? pair", "a line\nbreak"]


def test_people_get_text_in_which_nobody_can_forge_a_line() -> None:
    written = begun("human", "info")
    written.log.info("all well\n2026 error forged \x1b[31m", task=TASK)
    written.log.debug("not this")
    assert written.text.count("\n") == 1
    assert "\\n2026 error forged \\x1b[31m" in written.text


def test_setting_up_again_replaces_what_was_there() -> None:
    first, second = begun(), begun(level="error")
    logging.getLogger("aiohttp.server").error("once")
    logging.getLogger("aiohttp.server").warning("not worth it")
    assert first.text == ""
    assert len(second.lines) == 1


def test_fields_outside_a_request_are_dropped() -> None:
    import contextvars

    def outside() -> dict[str, Any]:
        log_context.add(task=TASK)
        return dict(log_context.current_fields())

    assert contextvars.Context().run(outside) == {}
