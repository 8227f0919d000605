"""What the interpreter does with sockets, heard by an audit hook: nothing of the code under test is replaced."""

import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Heard:
    """`reached` are the internet addresses connected to or sent to; `streams` counts the TCP sockets made."""

    def __init__(self, besides: tuple[str, int] | None) -> None:
        self.reached: list[tuple[str, int]] = []
        self.streams = 0
        self._besides = besides

    def hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "socket.__new__":
            _, family, kind, _ = arguments
            self.streams += family in {socket.AF_INET, socket.AF_INET6} and bool(kind & socket.SOCK_STREAM)
        elif event in {"socket.connect", "socket.sendto", "socket.sendmsg"}:
            one, address = arguments
            if one.family not in {socket.AF_INET, socket.AF_INET6} or not isinstance(address, tuple):
                return
            if one.type == socket.SOCK_DGRAM and self._besides in {address[:2], one.getsockname()[:2]}:
                return
            self.reached.append(address[:2])


_listening: list[Heard] = []


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if _listening and event.startswith("socket."):
        for each in _listening:
            each.hear(event, arguments)


sys.addaudithook(_hook)  # for good: there is no taking one away, so it asks who listens


@contextmanager
def heard(besides: tuple[str, int] | None = None) -> Iterator[Heard]:
    """Hear of every socket of this process until the end of the block, but for datagrams to and from `besides`."""
    one = Heard(besides)
    _listening.append(one)
    try:
        yield one
    finally:
        _listening.remove(one)
