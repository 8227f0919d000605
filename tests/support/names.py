"""A name server on loopback whose answers may change, and a resolver that queries it over UDP."""

import asyncio
import socket
import struct
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from ipaddress import ip_address
from threading import Thread

from aiohttp.abc import AbstractResolver, ResolveResult
from typing_extensions import override

Router = Mapping[tuple[str, bool], list[list[str]]]
"""By name, and whether IPv6 addresses are wanted: the answers to successive queries. The last one repeats."""
_A, _AAAA = 1, 28


class Nameserver:
    """Answers A and AAAA queries from a table, with a time to live of 0. Other names do not exist."""

    def __init__(self, table: Router, bound: socket.socket) -> None:
        self._left = {key: list(answers) for key, answers in table.items()}
        self._names = {name for name, _ in table}
        self._bound = bound
        self.address: tuple[str, int] = bound.getsockname()
        self.answered: Counter[tuple[str, bool]] = Counter()

    @property
    def asked(self) -> int:
        """How many queries were answered with addresses."""
        return self.answered.total()

    def run(self) -> None:
        """Answer queries until an empty datagram arrives."""
        while True:
            question, who = self._bound.recvfrom(512)
            if not question:
                return
            self._bound.sendto(self._answer(question), who)

    def _answer(self, question: bytes) -> bytes:
        name, end = _name(question)
        wanted = int.from_bytes(question[end : end + 2], "big")
        key = (name, wanted == _AAAA)
        answers = self._left.get(key, [[]])
        found = answers.pop(0) if len(answers) > 1 else answers[0]
        self.answered[key] += bool(found)
        code = 0x8180 if name in self._names else 0x8183
        head = question[:2] + struct.pack(">HHHHH", code, 1, len(found), 0, 0) + question[12 : end + 4]
        packed = [ip_address(address).packed for address in found]
        return head + b"".join(struct.pack(">HHHIH", 0xC00C, wanted, 1, 0, len(each)) + each for each in packed)


@contextmanager
def nameserver(table: Router) -> Iterator[Nameserver]:
    """Serve `table` until the end of the block."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        bound.bind(("127.0.0.1", 0))
        server = Nameserver(table, bound)
        thread = Thread(target=server.run, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            bound.sendto(b"", server.address)
            thread.join(5)


class Asking(AbstractResolver):
    """Resolves as libc does: whatever libc reads as a numeric address is one; other names go to the name server."""

    def __init__(self, server: Nameserver) -> None:
        self._at = server.address

    @override
    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        try:
            found = [str(each[4][0]) for each in socket.getaddrinfo(host, 0, family, 0, 0, socket.AI_NUMERICHOST)]
        except OSError:
            found = [each for kind in (_A, _AAAA) for each in await asyncio.to_thread(self._ask, host, kind)]
        if not found:
            raise OSError("there is no such name")
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in dict.fromkeys(found)
        ]

    def _ask(self, host: str, kind: int) -> list[str]:
        labels = host.rstrip(".").lower().encode().split(b".")
        if not all(0 < len(label) < 64 for label in labels):
            return []
        asked = b"".join(bytes([len(label)]) + label for label in labels) + b"\x00" + struct.pack(">HH", kind, 1)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as here:
            here.settimeout(5)
            here.sendto(struct.pack(">HHHHHH", 7, 0x0100, 1, 0, 0, 0) + asked, self._at)
            said = here.recv(4096)
        at, found = 12 + len(asked), []
        for _ in range(int.from_bytes(said[6:8], "big")):
            length = int.from_bytes(said[at + 10 : at + 12], "big")
            found.append(str(ip_address(said[at + 12 : at + 12 + length])))
            at += 12 + length
        return found

    @override
    async def close(self) -> None:
        pass


def _name(question: bytes) -> tuple[str, int]:
    """Return the queried name, and the offset after it."""
    at, labels = 12, []
    while length := question[at]:
        labels.append(question[at + 1 : at + 1 + length].decode())
        at += 1 + length
    return ".".join(labels), at + 1
