"""What `make bench-compare` makes of the JSON of two commits, and what a history keeps of a run."""

from typing import Any

from bench.compare import compared
from bench.figures import Figure
from bench.pinned import PARTS, divided, limits, parse_cores


def result(rate: float, ceiling: float, cpu: float, p99: float) -> dict[str, Any]:
    figures = [
        Figure(
            name="orders",
            unit="1/s",
            ours=[rate],
            against=[ceiling],
            against_what="a proxy",
            notes={"µs of service": cpu},
        ),
        Figure(name="p99", unit="ms", ours=[p99]),
    ]
    return {"figures": [figure.to_json() for figure in figures]}


def test_two_commits_are_compared_by_ratios_to_ceilings_by_costs_and_by_times() -> None:
    runs = {
        "base": [result(500, 1000, 300, 4), result(250, 500, 310, 5)],
        "ours": [result(600, 1000, 200, 8), result(300, 500, 205, 10)],
    }
    rate, cpu, p99 = compared("abc", runs)
    assert (rate.unit, rate.ratios, rate.is_reached) == ("of a proxy", [1.2, 1.2], True)
    assert [round(ratio, 2) for ratio in cpu.ratios] == [0.67, 0.66]
    assert cpu.is_reached
    assert (p99.ratios, p99.is_reached) == ([2.0, 2.0], False)


def test_a_figure_that_only_one_commit_has_is_left_out() -> None:
    base = result(500, 1000, 300, 4)
    base["figures"].pop()
    assert {figure.name for figure in compared("abc", {"base": [base], "ours": [result(1, 2, 3, 4)]})} == {"orders"}


def test_a_history_keeps_medians_of_three_digits() -> None:
    figure = Figure(
        name="orders", unit="1/s", ours=[1234.5, 1000, 2000], against=[3000, 3000, 3000], notes={"µs": 33.333}
    )
    assert figure.summary() == {
        "name": "orders",
        "unit": "1/s",
        "ours": 1230.0,
        "against": 3000.0,
        "ratio": 0.411,
        "µs": 33.3,
    }


def test_cores_are_divided_among_all_parts_and_shared_if_they_are_few() -> None:
    assert parse_cores("0-2,5") == [0, 1, 2, 5]
    assert divided([0, 1]) == {"service": [0], "postgres": [1], "load": [1], "subscribers": [1]}
    for count in range(1, 20):
        cores = divided(list(range(count)))
        assert set(cores) == set(PARTS)
        assert all(cores.values())


def test_the_limit_is_the_group_of_parts_whose_cores_were_busy() -> None:
    cores = divided([0, 1])
    used = {"service": 9.5, "postgres": 3.0, "load": 2.0, "subscribers": 1.0}
    assert limits(cores, used, 10) == ["service"]
    assert limits(cores, used | {"postgres": 6.5}, 10) == ["service", "postgres and load and subscribers"]
    assert limits(cores, dict.fromkeys(PARTS, 1.0), 10) == []
