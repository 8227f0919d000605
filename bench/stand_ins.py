"""Who is at the other ends: subscribers that count what they get, and a provider that takes every order at once.

`python -m bench.stand_ins JSON`. A path says how its subscriber behaves: `/ok/…` answers at once, `/slow/<ms>/…` after so
many milliseconds. GET `/count`, `/arrivals` tell what came.
"""

import asyncio
import json
import re
import signal
import sys
import time

import uvloop

from bench.protocols import Serving

_ID = re.compile(rb"\r\nwebhook-id: *(\S+)", re.IGNORECASE)
_OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: application/json\r\n\r\n{}"
_SUBMITTED = 1_700_000_000_000


def _json(content: object) -> bytes:
    body = json.dumps(content).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body


class Sink:
    """Counts deliveries, and with `arrivals` remembers when each came (seconds of the monotonic clock)."""

    def __init__(self, *, arrivals: bool) -> None:
        self._arrivals = arrivals
        self._came: list[tuple[str, str, float]] = []
        self._seen: set[tuple[bytes, bytes]] = set()
        self._count = 0
        self._orders = 0

    def answer(self, head: bytes) -> "bytes | asyncio.Future[bytes]":
        at = time.monotonic()
        method, target, _ = head.split(b" ", 2)
        if method == b"GET":
            return self._tell(target)
        if target.startswith(b"/kling/"):
            return self._take_order()
        found = _ID.search(head)
        name = found[1] if found else b""
        self._count += 1
        self._seen.add((name, target))
        if self._arrivals:
            self._came.append((name.decode(), target.decode(), at))
        if target.startswith(b"/slow/"):
            later: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
            wait = int(target.split(b"/")[2]) / 1000
            asyncio.get_running_loop().call_later(wait, later.set_result, _OK)
            return later
        return _OK

    def _tell(self, target: bytes) -> bytes:
        if target == b"/arrivals":
            came, self._came = self._came, []
            return _json(came)
        return _json({"count": self._count, "distinct": len(self._seen), "orders": self._orders})

    def _take_order(self) -> bytes:
        self._orders += 1
        times = {"created_at": _SUBMITTED, "updated_at": _SUBMITTED}
        task = {"task_id": f"p-{self._orders}", "task_status": "submitted", **times}
        return _json({"code": 0, "message": "SUCCEED", "request_id": "r", "data": task})


async def _main() -> None:
    said = json.loads(sys.argv[1])
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stopping.set)
    sink = Sink(arrivals=said.get("arrivals", False))
    server = await loop.create_server(lambda: Serving(sink.answer), "127.0.0.1", 0, backlog=1024)
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    await stopping.wait()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_main())
