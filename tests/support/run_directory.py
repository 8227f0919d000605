"""The directory of one run of the tests: every temporary file is in it, and it is removed at the end.

It is in memory if there is room, because a database per test means millions of small files. Other processes find it as
TMPDIR. What killed runs have left is removed at the start of the next one.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from kling_relay.store.embedded.os_account import account_for
from kling_relay.store.embedded.server import EmbeddedError, _stop

_MEMORY = Path("/dev/shm")
_ROOM = 4 * 1024**3
"""Bytes that must be free for a run in memory; it uses less than half of them."""
_PREFIX = f"kling-relay-run-{os.getuid()}-"
_LOCK = "lock"


@contextmanager
def run_directory() -> Iterator[Path]:
    """Make a new directory the place of all temporary files of this process and of those that it starts."""
    before, variable = tempfile.tempdir, os.environ.get("TMPDIR")
    places = {_MEMORY, Path(tempfile.gettempdir())}
    for place in places:
        _remove_abandoned(place)
    parent = _MEMORY if _has_room() else Path(tempfile.gettempdir())
    directory = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
    directory.chmod(0o711)  # PostgreSQL's account goes through it
    with (directory / _LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        tempfile.tempdir = os.environ["TMPDIR"] = str(directory)
        try:
            yield directory
        finally:
            tempfile.tempdir = before
            os.environ.pop("TMPDIR")
            if variable is not None:
                os.environ["TMPDIR"] = variable
            shutil.rmtree(directory, ignore_errors=True)


def _has_room() -> bool:
    try:
        free = shutil.disk_usage(_MEMORY).free
    except OSError:
        return False
    return os.access(_MEMORY, os.W_OK) and min(free, psutil.virtual_memory().available) >= _ROOM


def _remove_abandoned(place: Path) -> None:
    for directory in place.glob(f"{_PREFIX}*"):
        try:
            with (directory / _LOCK).open("r+") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # in use, or just removed
            continue
        for running in directory.rglob("postmaster.pid"):
            with suppress(OSError, EmbeddedError):
                _stop(running.parent, account_for(running.parent), "immediate")
        shutil.rmtree(directory, ignore_errors=True)
