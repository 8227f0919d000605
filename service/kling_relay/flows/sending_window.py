"""Sending window: how long after its claim an order may still be sent.

After `claimed_for` the sweep takes a claimed order for abandoned, and may end its task as not charged. A process that
stood still in between (SIGSTOP, a machine that slept, a full memory) must not send it afterwards.
"""

from collections.abc import Callable, Sequence


class SendingWindow:
    """Opens when it is made, which is before the claim, and closes as soon as any of the clocks says so.

    One clock counts the sleep of the machine; the other is set right after what no clock of the machine has counted.
    """

    __slots__ = ("_ends",)

    def __init__(self, clocks: Sequence[Callable[[], float]], seconds: float) -> None:
        self._ends = [(clock, clock() + seconds) for clock in clocks]

    def is_open(self) -> bool:
        return all(clock() < end for clock, end in self._ends)
