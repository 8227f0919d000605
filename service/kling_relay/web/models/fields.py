"""What comes in to /v1, as models: requests forbid unknown members and tell every fault at once.

What a value must look like stands in its JSON Schema as far as one can say it, so that the OpenAPI document neither
promises what is refused nor hides what is taken. Kling's orders are checked by the rule book, not by a model.
"""

from datetime import UTC, datetime
from math import isfinite
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, WithJsonSchema

from kling_relay.core.event import PATTERNS, BodyFormat
from kling_relay.core.operation import Kind
from kling_relay.core.subscription import (
    HEADER_NAME,
    MAX_DESCRIPTION,
    MAX_HEADER_BYTES,
    MAX_HEADERS,
    MAX_IN_FLIGHT,
    Ordering,
    event_faults,
    header_faults,
)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST = 253_402_300_799_000
"""The last second of the year 9999 in milliseconds."""
MAX_LISTED = 500
MAX_RETRIED = 10_000
MAX_OVERLAP = 7 * 86_400
_NO_NUL = "^[^\\u0000]*$"
_SEQUENCE = "(?:[1-9][0-9]{0,3}|[12][0-9]{4}|3[01][0-9]{3}|32[0-6][0-9]{2}|327[0-5][0-9]|3276[0-7])"
_HEX = "[0-9a-f]{32}"


def _dated(given: object) -> object:
    if isinstance(given, str):
        try:
            given = float(given)
        except ValueError:
            return given
    if isinstance(given, int | float) and not (isfinite(given) and 0 <= given <= _LATEST):
        raise ValueError("must be between the years 1970 and 9999")
    return given


def _moment(at: datetime) -> datetime:
    """Return `at` in UTC, times without a zone taken as UTC, none before 1970."""
    try:
        return max(_EPOCH, at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC))
    except OverflowError:  # a zone's offset led out of the years that there are
        raise ValueError("must be between the years 1970 and 9999") from None


def _storable(text: str) -> str:
    if "\x00" in text:
        raise ValueError("must not contain NUL")
    return text


def _fine(faults: list[str]) -> None:
    if faults:
        raise ValueError("; ".join(faults))


def _good_headers(headers: dict[str, str]) -> dict[str, str]:
    _fine(header_faults(headers))
    return headers


def _good_events(events: list[str]) -> list[str]:
    _fine(event_faults(events))
    return list(dict.fromkeys(events))


def _split(text: object) -> object:
    return [part.strip() for part in text.split(",") if part.strip()] if isinstance(text, str) else text


def _like(**schema: Any) -> Any:
    """Say more of a value in its schema; what it must be is checked elsewhere, in words that help more."""
    return Field(json_schema_extra=schema)


Moment = Annotated[
    datetime,
    BeforeValidator(_dated),
    AfterValidator(_moment),
    WithJsonSchema(
        {
            "description": "RFC 3339, or seconds or milliseconds since 1970",
            "anyOf": [{"type": "string", "format": "date-time"}, {"type": "number", "minimum": 0, "maximum": _LATEST}],
        }
    ),
]
Text = Annotated[str, AfterValidator(_storable), _like(pattern=_NO_NUL)]
Word = Annotated[
    str, StringConstraints(min_length=1, max_length=256), AfterValidator(_storable), _like(pattern=_NO_NUL)
]
Id = Annotated[str, StringConstraints(min_length=1, max_length=256), AfterValidator(_storable), _like(format="uuid")]
DeliveryId = Annotated[Word, _like(pattern=f"^{_HEX}-{_SEQUENCE}-{_HEX}$")]
EventId = Annotated[Word, _like(pattern=f"^evt_{_HEX}_{_SEQUENCE}$")]
PLACE = f"^(?:0|(?:0|[1-9][0-9]{{0,17}})-{_HEX}-(?:0|{_SEQUENCE}))$"
"""A cursor of the log, as a regular expression."""
Place = Annotated[Word, _like(pattern=PLACE)]
Url = Annotated[
    str,
    StringConstraints(min_length=1, max_length=2048),
    AfterValidator(_storable),
    _like(format="uri", pattern="^[Hh][Tt][Tt][Pp][Ss]?://"),
]
Headers = Annotated[
    dict[str, str],
    AfterValidator(_good_headers),
    _like(
        maxProperties=MAX_HEADERS,
        propertyNames={"pattern": HEADER_NAME},
        additionalProperties={"type": "string", "pattern": "^[ -~]*$", "maxLength": MAX_HEADER_BYTES},
    ),
]
_PATTERN = {"type": "string", "enum": sorted(PATTERNS)}
Events = Annotated[list[str], AfterValidator(_good_events), _like(minItems=1, items=_PATTERN)]
Types = Annotated[list[str], BeforeValidator(_split), AfterValidator(_good_events), _like(minItems=1, items=_PATTERN)]
ShownStatus = Literal["submitted", "processing", "succeed", "failed"]
Statuses = Annotated[list[ShownStatus], BeforeValidator(_split)]
Kinds = Annotated[list[Kind], BeforeValidator(_split)]
By = Annotated[
    list[Literal["day", "month", "kind", "model", "mode", "key", "client", "currency"]], BeforeValidator(_split)
]


class Asked(BaseModel):
    """A request: nothing that we do not know may stand in it."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Paged(Asked):
    limit: int = Field(50, ge=1, le=MAX_LISTED)
    cursor: Id | None = None


class TasksAsked(Paged):
    status: Statuses | None = None
    kind: Kinds | None = None
    since: Moment | None = None
    until: Moment | None = None
    text: Word | None = Field(None, description="looked for in ids, models and orders")


class TaskAsked(Asked):
    wait: float = Field(0, ge=0, le=3600, description="seconds to wait for the task to be final; bounded by a setting")


class EventsAsked(Asked):
    limit: int = Field(50, ge=1, le=MAX_LISTED)
    cursor: Place | None = Field(None, description="as after")
    after: Place | None = Field(None, description="the cursor of the last event that you have; 0 is the beginning")
    type: Types | None = None
    task: Id | None = None


class StreamAsked(Asked):
    after: Place | None = Field(None, description="as Last-Event-ID; without either the stream begins now")
    type: Types | None = None
    task: Id | None = None


class SubscriptionAsked(Asked):
    url: Url
    events: Events = ["*"]
    description: Text = Field("", max_length=MAX_DESCRIPTION)
    headers: Headers = {}
    format: BodyFormat = BodyFormat.STANDARD
    ordering: Ordering = Ordering.NONE
    max_in_flight: int | None = Field(
        None,
        ge=1,
        le=MAX_IN_FLIGHT,
        description="attempts at once; none said: RELAY_SUBSCRIPTION_CONCURRENCY",
    )


class SubscriptionChange(Asked):
    """Only what is to change; null leaves a member as it is."""

    url: Url | None = None
    events: Events | None = None
    description: Text | None = Field(None, max_length=MAX_DESCRIPTION)
    headers: Headers | None = None
    format: BodyFormat | None = None
    ordering: Ordering | None = None
    max_in_flight: int | None = Field(None, ge=1, le=MAX_IN_FLIGHT)


class RotationAsked(Asked):
    overlap_seconds: int = Field(86_400, ge=0, le=MAX_OVERLAP)


class ReplayAsked(Asked):
    since: Moment
    until: Moment | None = None
    only: Literal["failed", "all"] = "failed"


class DeliveriesAsked(Asked):
    limit: int = Field(50, ge=1, le=MAX_LISTED)
    cursor: DeliveryId | None = None
    subscription: Id | None = None
    status: Literal["pending", "delivered", "exhausted"] | None = None
    event: EventId | None = Field(None, description="a webhook-id")
    task: Id | None = None


class RetryAsked(Asked):
    status: Literal["pending", "delivered", "exhausted"] = "exhausted"
    subscription: Id | None = None
    event: EventId | None = Field(None, description="a webhook-id")
    task: Id | None = None
    limit: int = Field(1_000, ge=1, le=MAX_RETRIED, description="the newest so many; ask again for the rest")


class UsageAsked(Asked):
    since: Moment | None = None
    until: Moment | None = None
    by: By = ["day"]
    format: Literal["json", "csv"] | None = Field(None, description="goes before the header Accept")


class Nothing(Asked):
    """A request that says nothing."""
