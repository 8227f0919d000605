"""Signing keys: from the settings, or made once in a file beside the embedded database."""

import secrets
from collections.abc import Sequence
from pathlib import Path

from kling_relay.settings import Settings

FILE = "signing-keys"


def signing_keys(settings: Settings) -> Sequence[bytes]:
    """Return the keys that sign callback tokens and encrypt stored secrets, newest first."""
    if settings.signing_keys:
        return [key.get_secret_value().encode() for key in settings.signing_keys]
    path = Path(settings.data_dir) / FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("x", encoding="ascii") as file:
            path.chmod(0o600)
            file.write(secrets.token_urlsafe(48) + "\n")
    except FileExistsError:
        pass  # made by an earlier start, or by another process
    return [line.encode() for line in path.read_text(encoding="ascii").split()]
