"""A figure: two programs measured in turns, and the ratio of each turn's pair, with median, minimum and maximum."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

Arm = Callable[[], Awaitable[float]]
SecondArm = Callable[[int], Awaitable[float]]
Samples = dict[str, list[float]]
"""By arm, one number for each turn or second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """`ours` and `against` hold one number per turn; `reach` is the target for their ratio (None: reported only).

    With `at_most` the target is an upper bound. `notes` are further numbers of the same run.
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
        return [ours / ceiling for ours, ceiling in zip(self.ours, self.against, strict=False)]

    @property
    def is_reached(self) -> bool | None:
        """Whether the median of the ratios (of the figure itself, if it has no ceiling) meets the target."""
        if self.reach is None:
            return None
        middle = median(self.ratios or self.ours)
        return middle <= self.reach if self.at_most else middle >= self.reach

    def to_json(self) -> dict[str, Any]:
        """Return its JSON object."""
        return {**asdict(self), "ratios": self.ratios, "is_reached": self.is_reached}

    def summary(self) -> dict[str, Any]:
        """Return what a history keeps of it: medians, to three digits."""
        medians = {"ours": self.ours, "against": self.against, "ratio": self.ratios}
        values = {name: _rounded(median(numbers)) for name, numbers in medians.items() if numbers}
        return {"name": self.name, "unit": self.unit, **values} | {
            name: _rounded(number) for name, number in self.notes.items()
        }


def _rounded(value: float) -> float:
    return float(f"{value:.3g}")


CpuTimes = dict[str, list[float]]
"""Microseconds of CPU per request, by process, one number per turn."""


def cpu_notes(cpu_times: CpuTimes) -> dict[str, float]:
    """Return the means of CPU times as notes of a figure."""
    return {f"µs of {process} each": sum(times) / len(times) for process, times in cpu_times.items()}


async def in_turns(turns: int, arms: Mapping[str, Arm]) -> Samples:
    """Measure each arm once per turn: A B, then B A, so that neither always comes second."""
    samples: Samples = {name: [] for name in arms}
    for turn in range(turns):
        for name in list(arms) if turn % 2 == 0 else list(arms)[::-1]:
            samples[name].append(await arms[name]())
    return samples


async def by_seconds(seconds: float, arms: Mapping[str, SecondArm]) -> Samples:
    """Measure the arms for one second at a time, in turns, `seconds` seconds each; an arm gets its second's number.

    A shared machine changes its speed by half within a minute, but seldom within two seconds.
    """
    samples: Samples = {name: [] for name in arms}
    for second in range(max(1, round(seconds))):
        for name in list(arms) if second % 2 == 0 else list(arms)[::-1]:
            samples[name].append(await arms[name](second))
    return samples


async def all_turns(turns: int, turn: Callable[[], Awaitable[Samples]]) -> Samples:
    """Repeat `turn` and return each arm's numbers, one turn after the other."""
    samples = [await turn() for _ in range(turns)]
    return {name: [number for sample in samples for number in sample[name]] for name in samples[0]}


def table(figures: list[Figure]) -> str:
    """Return the figures as a Markdown table, with their notes below."""
    lines = [
        "| figure | unit | median | min | max | against | median | ratio (min-max) | reach | |",
        "|---|---|---|---|---|---|---|---|---|---|",
        *map(_row, figures),
    ]
    notes = [
        f"- {figure.name}: " + ", ".join(f"{name} {_number(number)}" for name, number in figure.notes.items())
        for figure in figures
        if figure.notes
    ]
    return "\n".join([*lines, "", *notes])


def _row(figure: Figure) -> str:
    ratio = reach = against = ""
    if figure.ratios:
        ratio = f"{median(figure.ratios):.2f} ({min(figure.ratios):.2f}-{max(figure.ratios):.2f})"
        against = _number(median(figure.against))
    if figure.reach is not None:
        reach = f"{'at most' if figure.at_most else 'at least'} {figure.reach:g}"
    ours = (_number(median(figure.ours)), _number(min(figure.ours)), _number(max(figure.ours)))
    verdict = {None: "", True: "✓", False: "above" if figure.at_most else "below"}[figure.is_reached]
    cells = (figure.name, figure.unit, *ours, figure.against_what, against, ratio, reach, verdict)
    return "| " + " | ".join(cells) + " |"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2f}".rstrip("0").rstrip(".")
