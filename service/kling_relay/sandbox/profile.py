"""The profile of the sandbox: every option, its default and its meaning, in one frozen value.

Options are read from text (`with_options`), so that the command line and `PATCH /sandbox/profile` take the same values.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields, replace
from decimal import Decimal, InvalidOperation
from typing import Any, Protocol

from kling_relay.core.signature import decode
from kling_relay.core.suggestion import did_you_mean
from kling_relay.sandbox.errors import CODES

STATUSES = ("submitted", "processing", "succeed", "failed")
"""Kling's four statuses, in the order in which a task has them."""

STYLES = ("flat", "enveloped", "newer", "midjourney", "camel", "shouting", "mixed")
"""The styles that `callback_formats` writes; `mixed` draws one of them for each callback."""


class RandomSource(Protocol):
    """The methods of `random.Random` that the sandbox calls; the caller seeds it."""

    def random(self) -> float: ...
    def uniform(self, a: float, b: float) -> float: ...
    def getrandbits(self, k: int, /) -> int: ...


class ProfileError(ValueError):
    """Options that do not exist, or values that they do not take. Each of `faults` begins with an option's name."""

    def __init__(self, faults: Iterable[str]) -> None:
        self.faults = tuple(faults)
        super().__init__("; ".join(self.faults))


class _WrongValueError(ValueError):
    """The reason why a value is refused, for the option's user."""


_BOOLEANS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def share(text: str) -> float:
    """Read a probability from 0 to 1."""
    value = float(text)
    if not 0 <= value <= 1:
        raise _WrongValueError("a share is from 0 to 1")
    return value


def span(text: str) -> tuple[float, float]:
    """Read seconds: "2" is always 2, "1..3" is anything from 1 to 3, evenly distributed."""
    low, _, high = text.partition("..")
    pair = (duration(low), duration(high or low))
    if pair[0] > pair[1]:
        raise _WrongValueError("a range goes from the smaller to the larger number")
    return pair


def duration(text: str) -> float:
    """Read a time in seconds; the number may be followed by "s" or "ms"."""
    text = text.strip().lower()
    value = float(text[:-2]) / 1000 if text.endswith("ms") else float(text.removesuffix("s"))
    if not 0 <= value < 86_400:
        raise _WrongValueError("a time is from 0 to a day")
    return value


def _boolean(text: str) -> bool:
    value = _BOOLEANS.get(text.strip().lower())
    if value is None:
        raise _WrongValueError("yes or no")
    return value


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _statuses(text: str) -> tuple[str, ...]:
    if unknown := set(_words(text)) - set(STATUSES):
        raise _WrongValueError(f"not a status: {', '.join(sorted(unknown))}")
    return _words(text)


def _style(text: str) -> str:
    if text not in STYLES:
        raise _WrongValueError(f"one of {', '.join(STYLES)}")
    return text


def _pairs(text: str) -> tuple[tuple[str, str], ...]:
    return tuple((name, value) for name, _, value in (word.partition(":") for word in _words(text)))


def _code_shares(text: str) -> tuple[tuple[int, float], ...]:
    pairs = tuple((int(code), share(value or "1")) for code, value in _pairs(text))
    if unknown := {code for code, _ in pairs} - CODES.keys():
        raise _WrongValueError(f"not a code: {unknown}")
    return pairs


def _count(text: str) -> int:
    if (value := int(text)) < 0:
        raise _WrongValueError("not below 0")
    return value


def _secret(text: str) -> str | None:
    try:
        return text if text and decode(text) else None
    except ValueError as error:
        raise _WrongValueError(str(error)) from None


def _slots(text: str) -> int | None:
    return _count(text) if text not in ("", "none") else None


def split_options(text: str) -> list[tuple[str, str]]:
    """Return the options in a text such as `loss=0.3 doubling=0.3`. Commas may follow the values."""
    return [(name, value.rstrip(",")) for name, _, value in (option.partition("=") for option in text.split())]


def _option(read: Callable[[str], object], meaning: str) -> dict[str, Any]:
    """Return a field's metadata: how its text is read, and what it means."""
    return {"read": read, "meaning": meaning}


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """Every option of the sandbox; all faults are off by default. Shares are probabilities from 0 to 1."""

    # The account
    keys: tuple[str, ...] = field(default=("hk-sandbox",), metadata=_option(_words, "Bearer keys that are accepted"))
    access_keys: tuple[tuple[str, str], ...] = field(
        default=(("sandbox-access-key", "sandbox-secret-key-of-32-bytes-or-more"),),
        metadata=_option(_pairs, "`AK:SK` pairs whose JWTs (HS256; iss, exp, nbf) are accepted"),
    )
    balance: Decimal = field(
        default=Decimal(1_000_000),
        metadata=_option(Decimal, "units at the start; an order that costs more than is left is refused with 1102"),
    )
    slots: int | None = field(
        default=None,
        metadata=_option(
            _slots,
            "tasks in flight at once (a video takes 1, an image order n); 1303 beyond that; `none`: no limit",
        ),
    )
    external_ids: bool = field(
        default=True,
        metadata=_option(_boolean, "whether the gateway's paths keep `external_task_id`; Kling's own always do"),
    )
    hook_fields: tuple[str, ...] = field(
        default=(),
        metadata=_option(
            _words, "members read as the callback address; empty: `notify_hook` under /kling, else `callback_url`"
        ),
    )
    # The lifecycle of a task
    seconds: tuple[float, float] = field(
        default=(1.0, 3.0), metadata=_option(span, "how long a task takes from submitted to its end")
    )
    processing: float = field(
        default=0.3, metadata=_option(share, "the part of that time after which the task turns to processing")
    )
    failure: float = field(default=0.0, metadata=_option(share, "share of tasks that fail"))
    moderation: float = field(default=0.0, metadata=_option(share, "share of tasks that fail in moderation"))
    forever: float = field(default=0.0, metadata=_option(share, "share of tasks that never end"))
    # The answer to a submit
    slow: float = field(default=0.0, metadata=_option(share, "share of submits answered late"))
    slow_seconds: tuple[float, float] = field(default=(5.0, 10.0), metadata=_option(span, "how late they are answered"))
    refusals: tuple[tuple[int, float], ...] = field(
        default=(),
        metadata=_option(_code_shares, "`CODE:SHARE` pairs: submits refused with this code, not accepted"),
    )
    html_502: float = field(
        default=0.0, metadata=_option(share, "share of submits answered with an HTML 502, not accepted")
    )
    html_502_after_accept: float = field(
        default=0.0, metadata=_option(share, "share of submits accepted and charged, then answered with an HTML 502")
    )
    reset: float = field(default=0.0, metadata=_option(share, "share of submits reset, not accepted"))
    reset_after_accept: float = field(
        default=0.0, metadata=_option(share, "share of submits accepted and charged, then reset")
    )
    timeout_after_accept: float = field(
        default=0.0, metadata=_option(share, "share of submits accepted and charged, then never answered")
    )
    hang_seconds: float = field(
        default=60.0, metadata=_option(duration, "time after which an unanswered connection is reset")
    )
    # Polls
    poll_html: float = field(default=0.0, metadata=_option(share, "share of GETs answered with an HTML 502"))
    poll_error: float = field(default=0.0, metadata=_option(share, "share of GETs answered with 500, code 5000"))
    # Callbacks
    callbacks: tuple[str, ...] = field(
        default=STATUSES, metadata=_option(_statuses, "statuses for which a callback is sent")
    )
    style: str = field(default="flat", metadata=_option(_style, f"style of the callbacks: {', '.join(STYLES)}"))
    secret: str | None = field(
        default=None, metadata=_option(_secret, "`whsec_…`: callbacks are signed by Standard Webhooks")
    )
    loss: float = field(default=0.0, metadata=_option(share, "share of callbacks never sent"))
    doubling: float = field(default=0.0, metadata=_option(share, "share of callbacks sent twice"))
    reorder: float = field(
        default=0.0, metadata=_option(share, "share of callbacks sent `delay_seconds` late, overtaken by later ones")
    )
    delay: float = field(
        default=0.0, metadata=_option(share, "share of callbacks sent `delay_seconds` late, before later ones")
    )
    delay_seconds: tuple[float, float] = field(default=(0.5, 5.0), metadata=_option(span, "how late they are sent"))
    contradiction: float = field(
        default=0.0, metadata=_option(share, "share of ended tasks that a false callback contradicts later")
    )
    foreign_id: float = field(default=0.0, metadata=_option(share, "share of callbacks with an unknown task id"))
    callback_timeout: float = field(
        default=5.0, metadata=_option(duration, "time that a receiver has to answer a callback")
    )
    callback_tries: int = field(
        default=1, metadata=_option(_count, "attempts to deliver a callback until a 2xx, 1 s apart and doubling")
    )
    connections: int = field(default=200, metadata=_option(_count, "concurrent callbacks; 0: no limit"))
    # Memory
    keep: int = field(
        default=50_000,
        metadata=_option(
            _count,
            "tasks remembered, the oldest finished ones are dropped; the same number of ledger entries, callbacks "
            "and requests",
        ),
    )

    def with_options(self, options: Iterable[tuple[str, str]]) -> "Profile":
        """Return this profile with options read from text; raise ProfileError naming every fault at once."""
        values: dict[str, Any] = {}
        faults: list[str] = []
        readers = {option.name: option.metadata["read"] for option in fields(self)}
        for name, text in options:
            read = readers.get(name.replace("-", "_"))
            if read is None:
                faults.append(f"{name}: no such option{did_you_mean(name, readers)}".rstrip("."))
                continue
            try:
                values[name.replace("-", "_")] = read(text)
            except _WrongValueError as error:
                faults.append(f"{name}: invalid ({error})")
            except (ValueError, InvalidOperation):
                faults.append(f"{name}: invalid (should be a number{'' if text else ', and there is no value'})")
        if faults:
            raise ProfileError(faults)
        return replace(self, **values)

    @staticmethod
    def options() -> list[tuple[str, str, str]]:
        """Return the name, default as text, and meaning of every option, in order."""
        return [(option.name, _text(option.default), option.metadata["meaning"]) for option in fields(Profile)]

    def to_json(self) -> dict[str, str]:
        """Return every option that is not a secret as text that `with_options` reads back."""
        hidden = {"keys", "access_keys", "secret"}
        return {option.name: _text(getattr(self, option.name)) for option in fields(self) if option.name not in hidden}


def _text(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case (float() | int() as low, float() | int() as high):
            return f"{low:g}..{high:g}"
        case tuple():
            return ",".join(":".join(map(str, item)) if isinstance(item, tuple) else str(item) for item in value)
        case float():
            return f"{value:g}"
        case _:
            return str(value)
