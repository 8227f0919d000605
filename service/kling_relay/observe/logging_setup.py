"""Logging setup: lines of JSON for machines, or text for people on a terminal. Libraries' lines go the same way."""

import json
import logging
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, BinaryIO, Literal, cast

import orjson
import structlog
from structlog.typing import FilteringBoundLogger, Processor
from typing_extensions import override

from kling_relay.flows.log_context import current_fields
from kling_relay.observe.event_log import Log
from kling_relay.observe.redact import Redactor

Form = Literal["auto", "json", "human"]
Level = Literal["debug", "info", "warning", "error"]
_LEVELS = (logging.CRITICAL, logging.ERROR, logging.WARNING, logging.INFO, logging.DEBUG)
_NOISY = {"aiohttp.access": logging.WARNING, "asyncio": logging.WARNING, "sqlalchemy": logging.WARNING}
"""Loggers and the least level that is written of them. Requests have lines of their own."""


def set_up(form: Form, level: Level, *, secrets: Iterable[str] = (), stream: BinaryIO | None = None) -> Log:
    """Start logging to `stream` (standard error) and return the log. It replaces an earlier setup.

    `secrets` are this process's own. No line will contain them.
    """
    out = stream or sys.stderr.buffer
    human = form == "human" or (form == "auto" and out.isatty())
    logger = structlog.wrap_logger(
        structlog.BytesLogger(out),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
            structlog.processors.format_exc_info,
            Redactor(secrets),
            *(_human(colors=out.isatty()) if human else [_json]),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
    )
    bound = cast("FilteringBoundLogger", logger.bind())
    tear_down()
    root = logging.getLogger()
    root.addHandler(_Bridge(bound))
    root.setLevel(level.upper())
    for name, level_of in _NOISY.items():
        logging.getLogger(name).setLevel(max(level_of, root.level))
    logging.captureWarnings(capture=True)
    return Log(bound)


def tear_down() -> None:
    """Undo `set_up` in Python's own logging."""
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if isinstance(handler, _Bridge)]:
        root.removeHandler(handler)
    logging.captureWarnings(capture=False)


class _Bridge(logging.Handler):
    """Writes what libraries log by Python's own logging as our lines."""

    def __init__(self, logger: FilteringBoundLogger) -> None:
        super().__init__()
        self._logger = logger

    @override
    def emit(self, record: logging.LogRecord) -> None:
        level = next((level for level in _LEVELS if record.levelno >= level), logging.DEBUG)
        fields: dict[str, Any] = {"logger": record.name}
        if record.exc_info:
            fields["exc_info"] = record.exc_info
        if record.name.startswith("kling_relay.web"):  # elsewhere the fields may be those of another request
            fields = {**current_fields(), **fields}
        try:
            self._logger.log(level, record.getMessage(), **fields)
        except Exception:  # noqa: BLE001 - a line that cannot be written must not break its caller
            self.handleError(record)


def _json(_logger: Any, _method: str, line: Mapping[str, Any]) -> bytes:
    """Render a line without empty fields. If orjson refuses it (lone surrogates), the standard library renders it."""
    ordered = {"at": line["at"], "level": line["level"], "event": line["event"]}
    ordered.update((name, value) for name, value in line.items() if value is not None)
    with suppress(TypeError):
        # `default`: the driver's UUIDs are not Python's own
        return orjson.dumps(ordered, default=str, option=orjson.OPT_NON_STR_KEYS)
    return json.dumps(ordered, default=str, ensure_ascii=False).encode("utf-8", "replace")


def _human(*, colors: bool) -> list[Processor]:
    render = structlog.dev.ConsoleRenderer(
        colors=colors,
        timestamp_key="at",
        exception_formatter=structlog.dev.plain_traceback,  # the pretty one shows locals, which may be secrets
    )

    def human(logger: Any, method: str, line: structlog.typing.EventDict) -> bytes:
        line["at"] = str(line["at"])[11:23]
        line["event"] = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in str(line["event"]))
        return render(logger, method, line).encode("utf-8", "backslashreplace")

    return [human]
