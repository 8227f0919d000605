"""How the sandbox behaves: every knob, its default and its meaning, in one frozen value.

A knob can be set from text (`tempered`), so that the command line and `PATCH /sandbox/temper` take the same words.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields, replace
from decimal import Decimal, InvalidOperation
from typing import Any, Protocol

from kling_relay.core.signature import decode
from kling_relay.sandbox.errors import CODES

STATUSES = ("submitted", "processing", "succeed", "failed")
"""Kling's four status words, in the order of a task's life."""

STYLES = ("flat", "enveloped", "newer", "midjourney", "camel", "shouting", "mixed")
"""The callback bodies that `bodies.py` can write; `mixed` throws dice for each callback."""


class Chance(Protocol):
    """What the sandbox needs of a `random.Random`; the caller seeds it."""

    def random(self) -> float: ...
    def uniform(self, a: float, b: float) -> float: ...
    def getrandbits(self, k: int, /) -> int: ...


class KnobError(ValueError):
    """A knob that does not exist, or a value that it cannot take."""


def share(text: str) -> float:
    """Read a probability from 0 to 1."""
    value = float(text)
    if not 0 <= value <= 1:
        raise ValueError("a share lies between 0 and 1")
    return value


def span(text: str) -> tuple[float, float]:
    """Read seconds: "2" always, "1..3" evenly from one to three."""
    low, _, high = text.partition("..")
    pair = (duration(low), duration(high or low))
    if pair[0] > pair[1]:
        raise ValueError("a range goes from the smaller to the larger")
    return pair


def duration(text: str) -> float:
    """Read a time in seconds, with "s" or "ms" after the number or nothing."""
    text = text.strip().lower()
    value = float(text[:-2]) / 1000 if text.endswith("ms") else float(text.removesuffix("s"))
    if not 0 <= value < 86_400:
        raise ValueError("a time lies between 0 and a day")
    return value


def _yes(text: str) -> bool:
    return {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}[text.strip().lower()]


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _statuses(text: str) -> tuple[str, ...]:
    if wrong := set(_words(text)) - set(STATUSES):
        raise ValueError(f"not a status: {', '.join(sorted(wrong))}")
    return _words(text)


def _style(text: str) -> str:
    if text not in STYLES:
        raise ValueError(f"one of {', '.join(STYLES)}")
    return text


def _pairs(text: str) -> tuple[tuple[str, str], ...]:
    return tuple((name, value) for name, _, value in (word.partition(":") for word in _words(text)))


def _code_shares(text: str) -> tuple[tuple[int, float], ...]:
    pairs = tuple((int(code), share(value or "1")) for code, value in _pairs(text))
    if wrong := {code for code, _ in pairs} - CODES.keys():
        raise ValueError(f"not a code: {wrong}")
    return pairs


def _count(text: str) -> int:
    if (value := int(text)) < 0:
        raise ValueError("not below 0")
    return value


def _secret(text: str) -> str | None:
    if text:
        decode(text)
    return text or None


def _slots(text: str) -> int | None:
    return _count(text) if text not in ("", "none") else None


def _knob(read: Callable[[str], object], meaning: str) -> dict[str, Any]:
    """Return a field's metadata: how its text is read, and what it means."""
    return {"read": read, "meaning": meaning}


@dataclass(frozen=True, slots=True, kw_only=True)
class Temper:
    """Every knob of the sandbox; all misbehaviour is off by default. Shares are probabilities from 0 to 1."""

    # The account
    keys: tuple[str, ...] = field(default=("hk-sandbox",), metadata=_knob(_words, "the Bearer keys that are let in"))
    access_keys: tuple[tuple[str, str], ...] = field(
        default=(("sandbox-access-key", "sandbox-secret-key-of-32-bytes-or-more"),),
        metadata=_knob(_pairs, "`AK:SK` pairs whose JWTs (HS256; iss, exp, nbf) are let in"),
    )
    balance: Decimal = field(
        default=Decimal(1_000_000),
        metadata=_knob(Decimal, "units at the start; an order beyond it is refused with 1102"),
    )
    slots: int | None = field(
        default=None,
        metadata=_knob(_slots, "tasks in flight at once (a video 1, an image order n), 1303 beyond; `none`: no limit"),
    )
    external_ids: bool = field(
        default=True, metadata=_knob(_yes, "whether the gateway's paths keep `external_task_id`; Kling's own always do")
    )
    hook_fields: tuple[str, ...] = field(
        default=(),
        metadata=_knob(
            _words, "members read as the callback address; empty: `notify_hook` under /kling, else `callback_url`"
        ),
    )
    # A task's life
    seconds: tuple[float, float] = field(
        default=(1.0, 3.0), metadata=_knob(span, "how long a task takes from submitted to its end")
    )
    processing: float = field(
        default=0.3, metadata=_knob(share, "the part of that time after which it turns to processing")
    )
    failure: float = field(default=0.0, metadata=_knob(share, "share of tasks that fail"))
    moderation: float = field(default=0.0, metadata=_knob(share, "share of tasks that fail by moderation"))
    forever: float = field(default=0.0, metadata=_knob(share, "share of tasks that never end"))
    # The answer to a submit
    slow: float = field(default=0.0, metadata=_knob(share, "share of submits answered late"))
    slow_seconds: tuple[float, float] = field(default=(5.0, 10.0), metadata=_knob(span, "how late"))
    refusals: tuple[tuple[int, float], ...] = field(
        default=(),
        metadata=_knob(_code_shares, "`CODE:SHARE` pairs: submits refused with that code before anything is accepted"),
    )
    html_502: float = field(
        default=0.0, metadata=_knob(share, "share of submits answered with an HTML 502, nothing accepted")
    )
    html_502_after_accept: float = field(
        default=0.0, metadata=_knob(share, "share of submits accepted and charged, then answered so")
    )
    reset: float = field(default=0.0, metadata=_knob(share, "share of connections reset, nothing accepted"))
    reset_after_accept: float = field(
        default=0.0, metadata=_knob(share, "share of submits accepted and charged, then reset")
    )
    timeout_after_accept: float = field(
        default=0.0, metadata=_knob(share, "share of submits accepted and charged, then never answered")
    )
    hang_seconds: float = field(
        default=60.0, metadata=_knob(duration, "after which a connection never answered is reset")
    )
    # Polls
    poll_html: float = field(default=0.0, metadata=_knob(share, "share of GETs answered with an HTML 502"))
    poll_error: float = field(default=0.0, metadata=_knob(share, "share of GETs answered with 500, code 5000"))
    # Callbacks
    callbacks: tuple[str, ...] = field(default=STATUSES, metadata=_knob(_statuses, "the statuses that are called back"))
    style: str = field(default="flat", metadata=_knob(_style, f"the body of a callback: {', '.join(STYLES)}"))
    secret: str | None = field(default=None, metadata=_knob(_secret, "`whsec_…`: sign callbacks by Standard Webhooks"))
    loss: float = field(default=0.0, metadata=_knob(share, "share of callbacks never sent"))
    doubling: float = field(default=0.0, metadata=_knob(share, "share of callbacks sent twice"))
    reorder: float = field(
        default=0.0, metadata=_knob(share, "share of callbacks that later ones overtake, `delay_seconds` late")
    )
    delay: float = field(
        default=0.0, metadata=_knob(share, "share of callbacks that come late, and those of their task behind them")
    )
    delay_seconds: tuple[float, float] = field(default=(0.5, 5.0), metadata=_knob(span, "how late"))
    contradiction: float = field(
        default=0.0, metadata=_knob(share, "share of ends that are later contradicted by a false callback")
    )
    foreign_id: float = field(default=0.0, metadata=_knob(share, "share of callbacks with a task id never seen"))
    callback_timeout: float = field(default=5.0, metadata=_knob(duration, "what a receiver has to answer in"))
    callback_tries: int = field(
        default=1, metadata=_knob(_count, "times a callback is sent until a 2xx, a second apart and doubling")
    )
    connections: int = field(default=200, metadata=_knob(_count, "callbacks under way at once; 0: no limit"))
    # Memory
    keep: int = field(
        default=50_000,
        metadata=_knob(
            _count, "tasks remembered, the oldest finished are dropped; as many ledger rows, callbacks, requests"
        ),
    )

    def with_knobs(self, knobs: Iterable[tuple[str, str]]) -> "Temper":
        """Return this temper with knobs set from text; raise KnobError naming every fault at once."""
        values: dict[str, Any] = {}
        faults: list[str] = []
        readers = {each.name: each.metadata["read"] for each in fields(self)}
        for name, text in knobs:
            read = readers.get(name.replace("-", "_"))
            if read is None:
                faults.append(f"{name}: no such knob")
                continue
            try:
                values[name.replace("-", "_")] = read(text)
            except (ValueError, KeyError, InvalidOperation) as error:
                faults.append(f"{name}: does not do ({error})")
        if faults:
            raise KnobError("; ".join(faults))
        return replace(self, **values)

    @staticmethod
    def knobs() -> list[tuple[str, str, str]]:
        """Return name, default as text, and meaning of every knob, in order."""
        return [(each.name, _text(each.default), each.metadata["meaning"]) for each in fields(Temper)]

    def to_json(self) -> dict[str, str]:
        """Return every knob that is no secret as text that `with_knobs` reads back."""
        hidden = {"keys", "access_keys", "secret"}
        return {each.name: _text(getattr(self, each.name)) for each in fields(self) if each.name not in hidden}


def _text(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case (float() | int() as low, float() | int() as high):
            return f"{low:g}..{high:g}"
        case tuple():
            return ",".join(":".join(map(str, one)) if isinstance(one, tuple) else str(one) for one in value)
        case float():
            return f"{value:g}"
        case _:
            return str(value)
