"""The kinds of rule that a field can have in a rule book."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """Text of up to so many characters (not bytes)."""

    max_length: int
    required: bool = False
    default: None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Number:
    """A number in [low, high]."""

    low: float
    high: float
    whole: bool = False
    required: bool = False
    default: int | float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One of some words; a number stands for its digits, because `duration` is text that clients send as a number."""

    of: tuple[str, ...]
    required: bool = False
    default: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """An image by URL or in Base64; sides in pixels, `max_ratio` the longer side by the shorter."""

    max_bytes: int
    min_side: int | None = None
    max_ratio: float | None = None
    required: bool = False
    default: None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Camera:
    """Camera control: `simple` takes exactly one non-zero of `axes` in [-span, span], other types take none.

    `only` lists the circumstances in which it is taken, each a set of fields and their values; empty is always.
    """

    types: tuple[str, ...]
    axes: tuple[str, ...]
    span: float
    only: tuple[dict[str, str], ...] = ()
    required: bool = False
    default: None = None


Rule = Text | Number | Choice | Picture | Camera
RULES: dict[str, type[Rule]] = {"text": Text, "number": Number, "choice": Choice, "picture": Picture, "camera": Camera}


def kind_of_rule(rule: Rule) -> str:
    """Return the word that stands for this kind of rule in a rule book's file."""
    return next(word for word, kind in RULES.items() if isinstance(rule, kind))
