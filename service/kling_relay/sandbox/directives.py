"""Directives in a prompt that make the sandbox misbehave: `[fail]`, `[lose:processing]`, `[1303:2]`.

`DIRECTIVES` is the whole list; any other word in brackets is part of the prompt. A directive with an invalid argument
is refused with 1201, because otherwise a test that misspells its fault would pass without testing anything.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation

from kling_relay.sandbox.errors import CODES, RefusalError
from kling_relay.sandbox.profile import STATUSES, STYLES, duration
from kling_relay.sandbox.schedule import DEFAULT, Ending, Fault, FaultKind, TaskSchedule

_DIRECTIVE = re.compile(r"\[([A-Za-z0-9-]+)(?::([^\[\]]*))?\]")

Change = Callable[[TaskSchedule, list[str]], TaskSchedule]


@dataclass(frozen=True, slots=True)
class Directive:
    """A directive: how it is written, what it does, and how it changes a task's schedule."""

    form: str
    meaning: str
    change: Change


def _submit_fault(kind: FaultKind, *, code: int = 0, accepted: bool = False) -> Change:
    """Return the change that answers a submit with a fault; the arguments are a count, `accepted`, or both."""

    def change(schedule: TaskSchedule, arguments: list[str]) -> TaskSchedule:
        after, times = accepted, None
        for argument in arguments:
            if argument == "accepted":
                after = True
            else:
                times = int(argument)
        return replace(schedule, submit_faults=(*schedule.submit_faults, Fault(kind, code, after, times)))

    return change


def _poll_fault(kind: FaultKind, code: int = 0) -> Change:
    def change(schedule: TaskSchedule, arguments: list[str]) -> TaskSchedule:
        times = int(arguments[0]) if arguments else None
        return replace(schedule, poll_faults=(*schedule.poll_faults, Fault(kind, code, False, times)))

    return change


def _lose(schedule: TaskSchedule, arguments: list[str]) -> TaskSchedule:
    if unknown := set(arguments) - set(STATUSES):
        raise ValueError(f"not a status: {unknown}")
    return replace(schedule, lose=schedule.lose | frozenset(arguments or STATUSES))


def _style(schedule: TaskSchedule, arguments: list[str]) -> TaskSchedule:
    if arguments[0] not in STYLES:
        raise ValueError(f"one of {', '.join(STYLES)}")
    return replace(schedule, style=arguments[0])


def _contradict(schedule: TaskSchedule, arguments: list[str]) -> TaskSchedule:
    ending = Ending(arguments[0]) if arguments else Ending.FAILED
    if ending not in (Ending.FAILED, Ending.SUCCEED):
        raise ValueError("succeed or failed")
    return replace(schedule, ending=ending, contradict=True)


def _fail(schedule: TaskSchedule, arguments: list[str]) -> TaskSchedule:
    return replace(schedule, ending=Ending.FAILED, reason=",".join(arguments))


def _charge(schedule: TaskSchedule, arguments: list[str]) -> TaskSchedule:
    if not 0 <= (units := Decimal(arguments[0])) < 1_000_000:
        raise ValueError("units from 0 to a million")
    return replace(schedule, charge=units)


def _copies(schedule: TaskSchedule, arguments: list[str]) -> TaskSchedule:
    if not 1 <= (copies := int(arguments[0]) if arguments else 2) <= 100:
        raise ValueError("1 to 100 copies")
    return replace(schedule, copies=copies)


def _no_url(schedule: TaskSchedule, arguments: list[str]) -> TaskSchedule:
    if (polls := int(arguments[0]) if arguments else None) is not None and polls < 1:
        raise ValueError("at least 1 poll")
    return replace(schedule, no_url=True, no_url_polls=polls)


def _late_url(schedule: TaskSchedule, arguments: list[str]) -> TaskSchedule:
    return replace(schedule, no_url=True, late_url=duration(arguments[0]) if arguments else 2.0)


DIRECTIVES: dict[str, Directive] = {
    "takes": Directive("[takes:0.5s]", "the task takes this long", lambda s, a: replace(s, takes=duration(a[0]))),
    "fail": Directive("[fail] [fail:REASON]", "the task fails", _fail),
    "moderate": Directive(
        "[moderate]", "the task fails in moderation", lambda s, _: replace(s, ending=Ending.MODERATED)
    ),
    "forever": Directive("[forever]", "the task never ends", lambda s, _: replace(s, ending=Ending.NEVER)),
    "charge": Directive("[charge:7.5]", "success costs this many units, whatever the price list says", _charge),
    "slow": Directive(
        "[slow:10s]", "the submit is answered after this delay", lambda s, a: replace(s, slow=duration(a[0]))
    ),
    "overtake": Directive(
        "[overtake]",
        "the submit is answered only after every callback was sent",
        lambda s, _: replace(s, overtake=True),
    ),
    "timeout": Directive(
        "[timeout] [timeout:N]", "the submit is never answered and not accepted", _submit_fault(FaultKind.HANG)
    ),
    "timeout-after-accept": Directive(
        "[timeout-after-accept]",
        "the submit is accepted and charged, but never answered",
        _submit_fault(FaultKind.HANG, accepted=True),
    ),
    "reset": Directive("[reset] [reset:N] [reset:accepted]", "the connection is reset", _submit_fault(FaultKind.RESET)),
    "html-502": Directive(
        "[html-502] [html-502:N] [html-502:accepted]",
        "the answer is a proxy's HTML page with status 502",
        _submit_fault(FaultKind.HTML),
    ),
    "429": Directive(
        "[429] [429:N]",
        "the answer is a bare 429 with `Retry-After: 1` and no envelope",
        _submit_fault(FaultKind.BARE_429),
    ),
    **{
        str(code): Directive(
            "[CODE] [CODE:N] [CODE:accepted]",
            "the submit is refused with this code of Kling's list, as in `[1303:2]`, `[5000:accepted]`",
            _submit_fault(FaultKind.CODE, code=code),
        )
        for code in CODES
    },
    "poll-html": Directive("[poll-html] [poll-html:N]", "GET answers an HTML 502", _poll_fault(FaultKind.HTML)),
    "poll-5000": Directive(
        "[poll-5000] [poll-5000:N]", "GET answers 500, code 5000", _poll_fault(FaultKind.CODE, 5000)
    ),
    "poll-lost": Directive(
        "[poll-lost] [poll-lost:N]", "GET answers 404, code 1203", _poll_fault(FaultKind.CODE, 1203)
    ),
    "poll-timeout": Directive("[poll-timeout] [poll-timeout:N]", "GET is never answered", _poll_fault(FaultKind.HANG)),
    "poll-reset": Directive("[poll-reset] [poll-reset:N]", "GET is reset", _poll_fault(FaultKind.RESET)),
    "lose": Directive(
        "[lose] [lose:STATUS,STATUS]", "callbacks are never sent: all of them, or those of the given statuses", _lose
    ),
    "double": Directive("[double] [double:N]", "each callback is sent twice, or N times", _copies),
    "reorder": Directive(
        "[reorder]",
        "callbacks are held until the task ends, then sent in reverse order",
        lambda s, _: replace(s, reorder=True),
    ),
    "delay": Directive("[delay:5s]", "each callback is this late", lambda s, a: replace(s, delay=duration(a[0]))),
    "contradict": Directive(
        "[contradict] [contradict:succeed]",
        "a false success is called back after the failure, or a false failure after the success",
        _contradict,
    ),
    "no-url": Directive(
        "[no-url] [no-url:N]",
        "a success names no file in callbacks and in answers to GET, or only in the first N of those answers",
        _no_url,
    ),
    "late-url": Directive(
        "[late-url] [late-url:5s]",
        "a success names no file, until a second callback for it does after 2 s or this long",
        _late_url,
    ),
    "foreign-id": Directive(
        "[foreign-id]", "callbacks carry an unknown task id", lambda s, _: replace(s, foreign_id=True)
    ),
    "spelling": Directive("[spelling:STYLE]", f"callbacks have this style: {', '.join(STYLES)}", _style),
    "garbage": Directive("[garbage]", "callbacks are not JSON", lambda s, _: replace(s, garbage=True)),
    "huge": Directive("[huge]", "callbacks are padded to 2 MiB", lambda s, _: replace(s, huge=True)),
    "unsigned": Directive("[unsigned]", "callbacks have no signature", lambda s, _: replace(s, unsigned=True)),
    "forged": Directive("[forged]", "callbacks carry a wrong signature", lambda s, _: replace(s, forged=True)),
}


def read_directives(prompt: str) -> TaskSchedule:
    """Return the schedule that the directives in `prompt` ask for; an invalid argument raises RefusalError (1201)."""
    schedule = DEFAULT
    if "[" not in prompt:  # nearly every prompt: the hot path stops here
        return schedule
    for match in _DIRECTIVE.finditer(prompt):
        directive = DIRECTIVES.get(match[1].lower())
        if directive is None:
            continue
        arguments = [part.strip() for part in match[2].split(",")] if match[2] else []
        try:
            schedule = directive.change(schedule, arguments)
        except (ValueError, IndexError, InvalidOperation) as error:
            raise RefusalError(1201, f"sandbox: {match[0]} is invalid, write {directive.form} ({error})") from None
    return schedule
