"""Words in a prompt that make the sandbox misbehave: `[fail]`, `[lose:processing]`, `[1303:2]`.

`WORDS` is the whole list; a word in brackets that is not in it is part of the prompt. A known word with an argument
that it cannot take is refused with 1201, because a test that misspells its fault would otherwise pass for nothing.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation

from kling_relay.sandbox.errors import CODES, RefusalError
from kling_relay.sandbox.profile import STATUSES, STYLES, duration
from kling_relay.sandbox.schedule import NOTHING, Fate, Fault, Plan, Trouble

_WORD = re.compile(r"\[([A-Za-z0-9-]+)(?::([^\[\]]*))?\]")

Change = Callable[[Plan, list[str]], Plan]


@dataclass(frozen=True, slots=True)
class Word:
    """One word: how it is written, what it does, and the change it makes to a task's plan."""

    form: str
    meaning: str
    change: Change


def _trouble(fault: Fault, *, code: int = 0, accepted: bool = False) -> Change:
    """Return the change that answers a submit with `fault`; arguments are a count and/or `accepted`."""

    def change(plan: Plan, arguments: list[str]) -> Plan:
        after, times = accepted, None
        for argument in arguments:
            if argument == "accepted":
                after = True
            else:
                times = int(argument)
        return replace(plan, troubles=(*plan.troubles, Trouble(fault, code, after, times)))

    return change


def _poll(fault: Fault, code: int = 0) -> Change:
    def change(plan: Plan, arguments: list[str]) -> Plan:
        times = int(arguments[0]) if arguments else None
        return replace(plan, polls=(*plan.polls, Trouble(fault, code, False, times)))

    return change


def _lose(plan: Plan, arguments: list[str]) -> Plan:
    if wrong := set(arguments) - set(STATUSES):
        raise ValueError(f"not a status: {wrong}")
    return replace(plan, lose=plan.lose | frozenset(arguments or STATUSES))


def _style(plan: Plan, arguments: list[str]) -> Plan:
    if arguments[0] not in STYLES:
        raise ValueError(f"one of {', '.join(STYLES)}")
    return replace(plan, style=arguments[0])


def _contradict(plan: Plan, arguments: list[str]) -> Plan:
    fate = Fate(arguments[0]) if arguments else Fate.FAILED
    if fate not in (Fate.FAILED, Fate.SUCCEED):
        raise ValueError("succeed or failed")
    return replace(plan, fate=fate, contradict=True)


def _fail(plan: Plan, arguments: list[str]) -> Plan:
    return replace(plan, fate=Fate.FAILED, reason=",".join(arguments))


def _charge(plan: Plan, arguments: list[str]) -> Plan:
    if not 0 <= (units := Decimal(arguments[0])) < 1_000_000:
        raise ValueError("units from 0 to a million")
    return replace(plan, charge=units)


WORDS: dict[str, Word] = {
    "takes": Word("[takes:0.5s]", "the task takes so long", lambda p, a: replace(p, takes=duration(a[0]))),
    "fail": Word("[fail] [fail:REASON]", "the task fails", _fail),
    "moderate": Word("[moderate]", "the task fails by moderation", lambda p, _: replace(p, fate=Fate.MODERATED)),
    "forever": Word("[forever]", "the task never ends", lambda p, _: replace(p, fate=Fate.FOREVER)),
    "charge": Word("[charge:7.5]", "success costs so many units, whatever the price list says", _charge),
    "slow": Word("[slow:10s]", "the submit is answered so late", lambda p, a: replace(p, slow=duration(a[0]))),
    "overtake": Word(
        "[overtake]",
        "the submit is answered only after every callback was sent",
        lambda p, _: replace(p, overtake=True),
    ),
    "timeout": Word("[timeout] [timeout:N]", "the submit is never answered, nothing accepted", _trouble(Fault.HANG)),
    "timeout-after-accept": Word(
        "[timeout-after-accept]", "accepted and charged, never answered", _trouble(Fault.HANG, accepted=True)
    ),
    "reset": Word("[reset] [reset:N] [reset:accepted]", "the connection is reset", _trouble(Fault.RESET)),
    "html-502": Word(
        "[html-502] [html-502:N] [html-502:accepted]", "a proxy's HTML page with status 502", _trouble(Fault.HTML)
    ),
    "429": Word("[429] [429:N]", "a bare 429 with `Retry-After: 1` and no envelope", _trouble(Fault.BARE_429)),
    **{
        str(code): Word(
            "[CODE] [CODE:N] [CODE:accepted]",
            "refused with that code of Kling's list, as in `[1303:2]`, `[5000:accepted]`",
            _trouble(Fault.CODE, code=code),
        )
        for code in CODES
    },
    "poll-html": Word("[poll-html] [poll-html:N]", "GET answers an HTML 502", _poll(Fault.HTML)),
    "poll-5000": Word("[poll-5000] [poll-5000:N]", "GET answers 500, code 5000", _poll(Fault.CODE, 5000)),
    "poll-lost": Word("[poll-lost] [poll-lost:N]", "GET answers 404, code 1203", _poll(Fault.CODE, 1203)),
    "poll-timeout": Word("[poll-timeout] [poll-timeout:N]", "GET is never answered", _poll(Fault.HANG)),
    "poll-reset": Word("[poll-reset] [poll-reset:N]", "GET is reset", _poll(Fault.RESET)),
    "lose": Word("[lose] [lose:STATUS,STATUS]", "callbacks are never sent: all, or those of a status", _lose),
    "double": Word(
        "[double] [double:N]", "each callback is sent twice, or N times", lambda p, a: replace(p, copies=_copies(a))
    ),
    "reorder": Word(
        "[reorder]", "callbacks come in reverse order, all at the end", lambda p, _: replace(p, reorder=True)
    ),
    "delay": Word("[delay:5s]", "each callback comes so late", lambda p, a: replace(p, delay=duration(a[0]))),
    "contradict": Word(
        "[contradict] [contradict:succeed]",
        "a false success is called back after the failure, or a false failure after the success",
        _contradict,
    ),
    "foreign-id": Word(
        "[foreign-id]", "callbacks carry a task id never seen", lambda p, _: replace(p, foreign_id=True)
    ),
    "spelling": Word("[spelling:STYLE]", f"callbacks are written as {', '.join(STYLES)}", _style),
    "garbage": Word("[garbage]", "callbacks are not JSON", lambda p, _: replace(p, garbage=True)),
    "huge": Word("[huge]", "callbacks are padded to 2 MiB", lambda p, _: replace(p, huge=True)),
    "unsigned": Word("[unsigned]", "callbacks go without a signature", lambda p, _: replace(p, unsigned=True)),
    "forged": Word("[forged]", "callbacks carry a wrong signature", lambda p, _: replace(p, forged=True)),
}


def _copies(arguments: list[str]) -> int:
    if not 1 <= (copies := int(arguments[0]) if arguments else 2) <= 100:
        raise ValueError("1 to 100 copies")
    return copies


def read_words(prompt: str) -> Plan:
    """Return the plan that the words of `prompt` ask for; raise RefusalError (1201) where an argument does not do."""
    plan = NOTHING
    if "[" not in prompt:  # nearly every prompt: the hot path stops here
        return plan
    for match in _WORD.finditer(prompt):
        word = WORDS.get(match[1].lower())
        if word is None:
            continue
        try:
            plan = word.change(plan, [part.strip() for part in match[2].split(",")] if match[2] else [])
        except (ValueError, IndexError, InvalidOperation) as error:
            raise RefusalError(1201, f"sandbox: {match[0]} does not do, write {word.form} ({error})") from None
    return plan
