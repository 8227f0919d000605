"""Server-Sent Events (WHATWG HTML §9.2.6): chunks of bytes, cut anywhere, become messages.

The id of a message counts once the message is complete. So a stream is resumed without losing a message that was cut
off.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Message:
    """One message; `data` is its lines, joined by newlines."""

    event: str
    data: str


@dataclass(slots=True)
class Reader:
    """The state of one connection; `last_id` and `retry` (seconds) are the last ones that the server sent."""

    last_id: str | None = None
    retry: float | None = None
    _rest: bytes = b""
    _id: str | None = None
    _event: str = ""
    _lines: list[str] = field(default_factory=list)

    def feed(self, chunk: bytes) -> Iterator[Message]:
        """Read a chunk and yield the messages that it completes."""
        # split as bytes: a chunk may end inside a character
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for raw in lines:
            line = raw.removesuffix(b"\r").decode("utf-8", "replace")
            if line:
                self._read(line)
            elif message := self._complete():
                yield message

    def _read(self, line: str) -> None:
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
                pass  # comments (heartbeats) and unknown fields

    def _complete(self) -> Message | None:
        message = Message(self._event or "message", "\n".join(self._lines)) if self._lines else None
        self._event, self._lines = "", []
        self.last_id = self.last_id if self._id is None else self._id
        return message
