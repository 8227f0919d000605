"""A connection is cut if its client does not read for a time, and not if it reads slowly."""

from dataclasses import dataclass

from kling_relay.web.http.unread import CHECKS, MIN_PROGRESS, UnreadConnections

TIMEOUT = 8.0


@dataclass(eq=False)
class End:
    """Both ends of a connection: what waits to be sent, and whether it was cut."""

    size: int
    resumes: int = 0
    is_cut: bool = False

    def get_write_buffer_size(self) -> int:
        return self.size

    def abort(self) -> None:
        self.is_cut = True


def checked(unread: UnreadConnections, now: float, *ends: End) -> int:
    return unread.check([(end, end) for end in ends], now)


def test_a_connection_whose_client_reads_nothing_is_cut_after_the_time_out_and_not_before() -> None:
    unread, end, other = UnreadConnections(TIMEOUT), End(size=100), End(size=0)
    assert unread.check_every * CHECKS == TIMEOUT
    assert [checked(unread, now, end, other) for now in (0, 2, 4, 6, 7.9)] == [0] * 5
    end.size += 50  # a further response does not count as progress
    assert checked(unread, TIMEOUT, end, other) == 1
    assert (end.is_cut, other.is_cut) == (True, False)


def test_a_connection_that_is_empty_once_has_its_whole_time_again() -> None:
    unread, end = UnreadConnections(TIMEOUT), End(size=100)
    for now, size in ((0.0, 100), (6.0, 0), (12.0, 100), (18.0, 100)):
        end.size = size
        assert checked(unread, now, end) == 0
    assert checked(unread, 20.0, end) == 1


def test_a_client_that_reads_slowly_is_not_cut_but_one_that_reads_byte_by_byte_is() -> None:
    unread, slow, trickling = UnreadConnections(TIMEOUT), End(size=20 * MIN_PROGRESS), End(size=20 * MIN_PROGRESS)
    for second in range(19):
        slow.size -= MIN_PROGRESS
        trickling.size -= 1
        checked(unread, second, slow, trickling)
    assert (slow.is_cut, trickling.is_cut) == (False, True)


def test_a_client_that_makes_room_for_further_parts_of_a_response_is_not_cut() -> None:
    unread, end = UnreadConnections(TIMEOUT), End(size=100)
    for second in range(30):
        end.resumes += second % 5 == 0
        assert checked(unread, second, end) == 0


def test_connections_that_are_gone_are_forgotten() -> None:
    unread = UnreadConnections(TIMEOUT)
    checked(unread, 0, *(End(size=1) for _ in range(10)))
    checked(unread, 1)
    assert not unread._unread
