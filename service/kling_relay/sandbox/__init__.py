"""The sandbox: a provider that behaves, and misbehaves, like the Kling gateway, to develop against and to test on."""

from kling_relay.sandbox.directives import WORDS
from kling_relay.sandbox.profile import STATUSES, STYLES, Chance, KnobError, Temper
from kling_relay.sandbox.sandbox import Sandbox
from kling_relay.sandbox.state import Entry, Heard, Sent, Task

__all__ = [
    "STATUSES",
    "STYLES",
    "WORDS",
    "Chance",
    "Entry",
    "Heard",
    "KnobError",
    "Sandbox",
    "Sent",
    "Task",
    "Temper",
]
