"""The operating-system account that PostgreSQL runs as: it refuses to run as root.

No account is created: root uses `pgserver` if it exists, else `nobody`, and an existing directory keeps its owner.
"""

import logging
import os
import pwd
import stat
from dataclasses import dataclass
from pathlib import Path

_NAMES = ("pgserver", "nobody")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class OsAccount:
    """The account that PostgreSQL's programs run as, if it is not our own."""

    uid: int
    gid: int


def account_for(cluster: Path) -> OsAccount | None:
    """Return the account that owns `cluster`, or None if we are not root and run it ourselves.

    Raises LookupError if root finds no unprivileged account.
    """
    if os.geteuid() != 0:
        return None
    if cluster.exists() and (owner := cluster.stat()).st_uid != 0:
        return OsAccount(owner.st_uid, owner.st_gid)
    for name in _NAMES:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return OsAccount(entry.pw_uid, entry.pw_gid)
    raise LookupError(
        f"PostgreSQL does not run as root, and none of the accounts {', '.join(_NAMES)} exists:"
        " create one, or run kling-relay as another user."
    )


def allow_traversal(account: OsAccount, path: Path) -> None:
    """Let `account` traverse every directory above `path`; it cannot list them, so names stay hidden."""
    for ancestor in reversed(path.parents):
        status = ancestor.stat()
        if status.st_uid != account.uid and not status.st_mode & stat.S_IXOTH:
            _log.warning("%s: other users may now traverse it, so that PostgreSQL can reach its files", ancestor)
            ancestor.chmod(status.st_mode | stat.S_IXOTH)


def allow_reading(account: OsAccount, tree: Path) -> None:
    """Let `account` read and run everything under `tree`; an installation made under a strict umask needs it."""
    allow_traversal(account, tree)
    if tree.stat().st_mode & stat.S_IROTH:
        return
    for path in (tree, *tree.rglob("*")):
        if path.is_symlink():
            continue
        mode = path.stat().st_mode
        execute = stat.S_IXOTH if mode & stat.S_IXUSR else 0
        path.chmod(mode | stat.S_IROTH | execute)
