"""Server-Sent Events, as the specification reads them (WHATWG HTML §9.2.6): bytes in any pieces become messages.

A message's id counts once the message is whole, and holds until the next: that is how a stream is resumed without
losing one that was cut off.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Message:
    """One message; `data` is its lines joined."""

    event: str
    data: str


@dataclass(slots=True)
class Reader:
    """What was read so far of one connection; `last_id` and `retry` (seconds) are what the server said last."""

    last_id: str | None = None
    retry: float | None = None
    _rest: bytes = b""
    _id: str | None = None
    _event: str = ""
    _lines: list[str] = field(default_factory=list)

    def feed(self, piece: bytes) -> Iterator[Message]:
        """Take what came and return the messages that are whole by now."""
        # lines are cut as bytes, so that a character cut in two by the network is put together again
        *lines, self._rest = (self._rest + piece).split(b"\n")
        for each in lines:
            line = each.removesuffix(b"\r").decode("utf-8", "replace")
            if line:
                self._take(line)
            elif message := self._whole():
                yield message

    def _take(self, line: str) -> None:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match name:
            case "data":
                self._lines.append(value)
            case "event":
                self._event = value
            case "id" if "\0" not in value:
                self._id = value
            case "retry" if value.isascii() and value.isdigit():
                self.retry = int(value) / 1000
            case _:
                pass  # comments (heartbeats) and what we do not know

    def _whole(self) -> Message | None:
        message = Message(self._event or "message", "\n".join(self._lines)) if self._lines else None
        self._event, self._lines = "", []
        self.last_id = self.last_id if self._id is None else self._id
        return message
