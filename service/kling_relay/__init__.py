"""kling-relay stands between a back end and Kling's image and video API.

The client library is here: `from kling_relay import Relay, SyncRelay, verify`. `kling_relay.client` has the rest of it.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kling_relay.client import ForgedError, Relay, RelayError, SyncRelay, verify

__all__ = ["ForgedError", "Relay", "RelayError", "SyncRelay", "verify"]

if not TYPE_CHECKING:  # a type checker would take any name for an attribute

    def __getattr__(name: str) -> object:
        """Import the client when a name of it is first used: neither the command line nor the server pays for it."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from kling_relay import client  # noqa: PLC0415 - see above

        return getattr(client, name)
