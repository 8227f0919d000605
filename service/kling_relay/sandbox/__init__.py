"""The sandbox: a provider that behaves, and misbehaves, like the Kling gateway, to develop against and to test on."""

from kling_relay.sandbox.directives import DIRECTIVES
from kling_relay.sandbox.profile import STATUSES, STYLES, Profile, ProfileError, RandomSource
from kling_relay.sandbox.sandbox import Sandbox
from kling_relay.sandbox.state import LedgerEntry, ReceivedRequest, SentCallback, Task

__all__ = [
    "DIRECTIVES",
    "STATUSES",
    "STYLES",
    "LedgerEntry",
    "Profile",
    "ProfileError",
    "RandomSource",
    "ReceivedRequest",
    "Sandbox",
    "SentCallback",
    "Task",
]
