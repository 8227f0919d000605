"""The kinds of rule that a rule book can have for a field."""

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """Text; `max_length` counts characters, not bytes."""

    type: ClassVar = "text"
    max_length: int
    required: bool = False
    default: None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Number:
    """A number in [low, high]."""

    type: ClassVar = "number"
    low: float
    high: float
    whole: bool = False
    required: bool = False
    default: int | float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One of several words. A number counts as its digits, because clients send `duration` as a number."""

    type: ClassVar = "choice"
    values: tuple[str, ...]
    required: bool = False
    default: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """An image, as a URL or Base64. Sides are in pixels; `max_ratio` is the longer side divided by the shorter."""

    type: ClassVar = "picture"
    max_bytes: int
    min_side: int | None = None
    max_ratio: float | None = None
    required: bool = False
    default: None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Camera:
    """Camera control: `simple` takes exactly one non-zero value of `axes` in [-span, span], other types take none.

    `only` lists when it is allowed: each entry is a set of fields and their values. An empty list means always.
    """

    type: ClassVar = "camera"
    types: tuple[str, ...]
    axes: tuple[str, ...]
    span: float
    only: tuple[dict[str, str], ...] = ()
    required: bool = False
    default: None = None


Rule = Text | Number | Choice | Picture | Camera
