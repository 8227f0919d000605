"""The sandbox: a provider that behaves, and misbehaves, like the Kling gateway, to develop against and to test on."""

from .record import Entry, Heard, Sent, Task
from .sandbox import Sandbox
from .temper import STATUSES, STYLES, Chance, KnobError, Temper
from .words import WORDS

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
