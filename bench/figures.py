"""A figure: two ways measured in turns, and the ratio of each turn's pair; shown with median, least and most."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

Arm = Callable[[], Awaitable[float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """`ours` and `against` by turns; `reach` is what the ratio should come to (None: reported only).

    With `at_most` the ratio should not exceed the reach. `notes` are further numbers of the same run.
    """

    name: str
    unit: str
    ours: list[float]
    against: list[float] = field(default_factory=list)
    against_what: str = ""
    reach: float | None = None
    at_most: bool = False
    notes: dict[str, float] = field(default_factory=dict)

    @property
    def ratios(self) -> list[float]:
        return [mine / other for mine, other in zip(self.ours, self.against, strict=False)]

    @property
    def is_reached(self) -> bool | None:
        """Whether the median of the ratios (or of the figure itself, where it has no ceiling) is good enough."""
        if self.reach is None:
            return None
        found = median(self.ratios or self.ours)
        return found <= self.reach if self.at_most else found >= self.reach

    def told(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {**asdict(self), "ratios": self.ratios, "is_reached": self.is_reached}


Spent = dict[str, list[float]]
"""Microseconds of CPU per thing done, by who spent them, turn by turn."""


def spent_notes(spent: Spent) -> dict[str, float]:
    """Return it as notes of a figure."""
    return {f"µs of {who} each": sum(times) / len(times) for who, times in spent.items()}


async def in_turns(turns: int, arms: Mapping[str, Arm]) -> dict[str, list[float]]:
    """Measure each arm once per turn: A B, then B A, so that neither is always the one that comes after."""
    found: dict[str, list[float]] = {name: [] for name in arms}
    for turn in range(turns):
        for name in list(arms) if turn % 2 == 0 else list(arms)[::-1]:
            found[name].append(await arms[name]())
    return found


async def by_seconds(seconds: float, arms: Mapping[str, Callable[[int], Awaitable[float]]]) -> dict[str, list[float]]:
    """Measure both arms for a second, by turns, for so many seconds each; an arm is told which of its seconds it is.

    A machine shared with strangers changes its speed by half within a minute, but seldom within two seconds.
    """
    found: dict[str, list[float]] = {name: [] for name in arms}
    for second in range(max(1, round(seconds))):
        for name in list(arms) if second % 2 == 0 else list(arms)[::-1]:
            found[name].append(await arms[name](second))
    return found


async def all_turns(turns: int, turn: Callable[[], Awaitable[dict[str, list[float]]]]) -> dict[str, list[float]]:
    """Return what so many turns found, each arm's numbers one after the other."""
    found = [await turn() for _ in range(turns)]
    return {name: [number for each in found for number in each[name]] for name in found[0]}


def table(figures: list[Figure]) -> str:
    """Return the figures as a Markdown table."""
    lines = [
        "| figure | unit | median | min | max | against | median | ratio (min-max) | reach | |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for each in figures:
        ratio = reach = against = ""
        if each.ratios:
            ratio = f"{median(each.ratios):.2f} ({min(each.ratios):.2f}-{max(each.ratios):.2f})"
            against = _number(median(each.against))
        if each.reach is not None:
            reach = f"{'at most' if each.at_most else 'at least'} {each.reach:g}"
        mine = (_number(median(each.ours)), _number(min(each.ours)), _number(max(each.ours)))
        mark = {None: "", True: "✓", False: "below"}[each.is_reached]
        mark = "above" if mark == "below" and each.at_most else mark
        cells = (each.name, each.unit, *mine, each.against_what, against, ratio, reach, mark)
        lines.append("| " + " | ".join(cells) + " |")
    notes = [
        f"- {each.name}: " + ", ".join(f"{name} {_number(number)}" for name, number in each.notes.items())
        for each in figures
        if each.notes
    ]
    return "\n".join([*lines, "", *notes])


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2f}".rstrip("0").rstrip(".")
