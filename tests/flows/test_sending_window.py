"""The sending window closes by each of its clocks."""

import pytest

from kling_relay.flows.sending_window import SendingWindow


@pytest.mark.parametrize("moving", [0, 1])
def test_a_window_closes_as_soon_as_one_clock_says_so(moving: int) -> None:
    times = [1000.0, 5.0]
    window = SendingWindow([lambda: times[0], lambda: times[1]], 60)
    times[moving] += 59.9
    assert window.is_open()
    times[moving] += 0.1
    assert not window.is_open()


def test_a_clock_that_is_set_back_does_not_keep_a_window_open_against_the_other_one() -> None:
    times = [1000.0, 5.0]
    window = SendingWindow([lambda: times[0], lambda: times[1]], 60)
    times[:] = [0.0, 65.0]
    assert not window.is_open()
