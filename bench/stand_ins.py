"""Stand-ins for the other ends: subscribers that count deliveries, and a provider that accepts every order at once.

`python -m bench.stand_ins JSON`. A path says how its subscriber behaves: `/ok/…` answers at once, `/slow/<ms>/…` after
that many milliseconds. GET `/count` and GET `/arrivals` report the deliveries.
"""

import asyncio
import json
import re
import signal
import sys
import time

import uvloop

from bench.protocols import ServerProtocol

_ID = re.compile(rb"\r\nwebhook-id: *(\S+)", re.IGNORECASE)
_OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: application/json\r\n\r\n{}"
_SUBMITTED_AT = 1_700_000_000_000


def _json(content: object) -> bytes:
    body = json.dumps(content).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body


class StandIn:
    """Counts deliveries and orders; with `arrivals` it also keeps the time of each delivery (monotonic seconds)."""

    def __init__(self, *, arrivals: bool) -> None:
        self._keeps_arrivals = arrivals
        self._arrivals: list[tuple[str, str, float]] = []
        self._distinct: set[tuple[bytes, bytes]] = set()
        self._count = 0
        self._orders = 0

    def answer(self, head: bytes) -> "bytes | asyncio.Future[bytes]":
        at = time.monotonic()
        method, target, _ = head.split(b" ", 2)
        if method == b"GET":
            return self._report(target)
        if target.startswith(b"/kling/"):
            return self._accept_order()
        match = _ID.search(head)
        message_id = match[1] if match else b""
        self._count += 1
        self._distinct.add((message_id, target))
        if self._keeps_arrivals:
            self._arrivals.append((message_id.decode(), target.decode(), at))
        if target.startswith(b"/slow/"):
            later: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
            wait = int(target.split(b"/")[2]) / 1000
            asyncio.get_running_loop().call_later(wait, later.set_result, _OK)
            return later
        return _OK

    def _report(self, target: bytes) -> bytes:
        if target == b"/arrivals":
            arrivals, self._arrivals = self._arrivals, []
            return _json(arrivals)
        return _json({"count": self._count, "distinct": len(self._distinct), "orders": self._orders})

    def _accept_order(self) -> bytes:
        self._orders += 1
        times = {"created_at": _SUBMITTED_AT, "updated_at": _SUBMITTED_AT}
        task = {"task_id": f"p-{self._orders}", "task_status": "submitted", **times}
        return _json({"code": 0, "message": "SUCCEED", "request_id": "r", "data": task})


async def _main() -> None:
    options = json.loads(sys.argv[1])
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stopping.set)
    stand_in = StandIn(arrivals=options.get("arrivals", False))
    server = await loop.create_server(lambda: ServerProtocol(stand_in.answer), "127.0.0.1", 0, backlog=1024)
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    await stopping.wait()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_main())
