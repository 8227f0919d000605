"""Types of fields that the models share. A value's JSON Schema says as much as one can, and its validator the rest.

Values are parsed here, so that handlers get ids, times and cursors instead of text. Kling's orders are checked by the
rule book, not by a model.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from math import isfinite
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    StringConstraints,
    WithJsonSchema,
)

from kling_relay.core.delivery import Delivery, parse_delivery_id
from kling_relay.core.event import PATTERNS
from kling_relay.core.subscription import HEADER_NAME, MAX_HEADER_BYTES, MAX_HEADERS, event_faults, header_faults
from kling_relay.store.events.log import Cursor, read_cursor

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_MILLISECOND = 253_402_300_799_000
"""The last second of the year 9999, in milliseconds since 1970."""
MAX_PAGE = 500
NO_NUL = "^[^\\u0000]*$"
_SEQUENCE = "(?:[1-9][0-9]{0,3}|[12][0-9]{4}|3[01][0-9]{3}|32[0-6][0-9]{2}|327[0-5][0-9]|3276[0-7])"
_HEX = "[0-9a-f]{32}"
CURSOR_PATTERN = f"^(?:0|(?:0|[1-9][0-9]{{0,17}})-{_HEX}-(?:0|{_SEQUENCE}))$"
"""A cursor of the event log."""


class RequestModel(BaseModel):
    """A query or body; unknown members are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ResponseModel(BaseModel):
    """The body of a response."""

    model_config = ConfigDict(frozen=True)


class EmptyQuery(RequestModel):
    """A query without parameters."""


class EmptyRequest(RequestModel):
    """A body without members."""


def _parsed(parse: Callable[[str], object], fault: str) -> PlainValidator:
    """Return a validator that replaces a text by what `parse` makes of it; None means that it is not valid."""

    def validate(value: object) -> object:
        if not isinstance(value, str):
            raise ValueError("must be a string")  # noqa: TRY004 - pydantic reports ValueErrors only
        result = parse(value.strip())
        if result is None:
            raise ValueError(fault)
        return result

    return PlainValidator(validate)


def _parse_uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def _parse_event_id(text: str) -> tuple[UUID, int] | None:
    """Return the subject and sequence of a webhook-id."""
    prefix, _, rest = text.partition("_")
    delivery = parse_delivery_id(f"{rest.replace('_', '-')}-{UUID(int=0).hex}") if prefix == "evt" else None
    return None if delivery is None or rest.count("_") != 1 else (delivery.subject, delivery.sequence)


def _number_of(value: object) -> object:
    """Return a time that is written as a number as one, and refuse it outside the years that we know."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return value
    if isinstance(value, int | float) and not (isfinite(value) and 0 <= value <= _LAST_MILLISECOND):
        raise ValueError("must be between the years 1970 and 9999")
    return value


def _in_utc(at: datetime) -> datetime:
    """Return `at` in UTC, but not before 1970; a time without a zone is in UTC."""
    try:
        return max(_EPOCH, at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC))
    except OverflowError:  # the offset leads beyond the years that a datetime can hold
        raise ValueError("must be between the years 1970 and 9999") from None


def _without_nul(text: str) -> str:
    if "\x00" in text:
        raise ValueError("must not contain NUL")
    return text


def _raise(faults: list[str]) -> None:
    if faults:
        raise ValueError("; ".join(faults))


def _check_headers(headers: dict[str, str]) -> dict[str, str]:
    _raise(header_faults(headers))
    return headers


def _check_events(events: list[str]) -> list[str]:
    _raise(event_faults(events))
    return list(dict.fromkeys(events))


def split(text: object) -> object:
    """Return the parts of a text with commas; anything else is returned as it is."""
    return [part.strip() for part in text.split(",") if part.strip()] if isinstance(text, str) else text


def _schema(**members: Any) -> Any:
    """Add to a field's JSON Schema what its validators check in clearer words."""
    return Field(json_schema_extra=members)


_STRING = {"type": "string"}
_PATTERN = _STRING | {"enum": sorted(PATTERNS)}

Moment = Annotated[
    datetime,
    BeforeValidator(_number_of),
    AfterValidator(_in_utc),
    # numbers are left out of the schema: clients that are made from a choice of two types do not compile in Java
    WithJsonSchema(
        _STRING
        | {"format": "date-time", "description": "RFC 3339; seconds or milliseconds since 1970 are accepted too"}
    ),
]
Text = Annotated[str, AfterValidator(_without_nul), _schema(pattern=NO_NUL)]
SearchText = Annotated[
    str, StringConstraints(min_length=1, max_length=256), AfterValidator(_without_nul), _schema(pattern=NO_NUL)
]
Id = Annotated[UUID, _parsed(_parse_uuid, "is not an id"), WithJsonSchema(_STRING | {"format": "uuid"})]
IdCursor = Annotated[UUID, _parsed(_parse_uuid, "is not a cursor"), WithJsonSchema(_STRING | {"format": "uuid"})]
DeliveryCursor = Annotated[
    Delivery,
    _parsed(parse_delivery_id, "is not a cursor"),
    WithJsonSchema(_STRING | {"pattern": f"^{_HEX}-{_SEQUENCE}-{_HEX}$"}),
]
EventId = Annotated[
    tuple[UUID, int],
    _parsed(_parse_event_id, "is not the id of an event"),
    WithJsonSchema(_STRING | {"pattern": f"^evt_{_HEX}_{_SEQUENCE}$"}),
]
LogCursor = Annotated[
    Cursor, _parsed(read_cursor, "is not a cursor"), WithJsonSchema(_STRING | {"pattern": CURSOR_PATTERN})
]
Url = Annotated[
    str,
    StringConstraints(min_length=1, max_length=2048),
    AfterValidator(_without_nul),
    _schema(format="uri", pattern="^[Hh][Tt][Tt][Pp][Ss]?://"),
]
Headers = Annotated[
    dict[str, str],
    AfterValidator(_check_headers),
    _schema(
        maxProperties=MAX_HEADERS,
        propertyNames={"pattern": HEADER_NAME},
        additionalProperties={"type": "string", "pattern": "^[ -~]*$", "maxLength": MAX_HEADER_BYTES},
    ),
]
EventPatterns = Annotated[list[str], AfterValidator(_check_events), _schema(minItems=1, items=_PATTERN)]
EventPatternList = Annotated[
    list[str], BeforeValidator(split), AfterValidator(_check_events), _schema(minItems=1, items=_PATTERN)
]
ClientStatus = Literal["submitted", "processing", "succeed", "failed"]
DeliveryStatus = Literal["pending", "delivered", "exhausted"]


class PageQuery(RequestModel):
    """A page of a list whose cursors are ids."""

    limit: int = Field(50, ge=1, le=MAX_PAGE)
    cursor: IdCursor | None = None
