"""The interpreter's socket operations, seen by an audit hook, so that no code under test is replaced."""

import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Heard:
    """`reached` are the internet addresses that were connected or sent to; `streams` counts new TCP sockets."""

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
    """Record every socket operation of this process until the end of the block, except datagrams with `besides`."""
    one = Heard(besides)
    _listening.append(one)
    try:
        yield one
    finally:
        _listening.remove(one)
