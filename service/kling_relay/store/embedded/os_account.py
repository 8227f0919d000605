"""PostgreSQL refuses to run as root: this says as whom it runs instead, and lets that account reach its files.

No account is made for it: `pgserver` where there is one, else `nobody`, and an existing directory keeps its owner.
"""

import logging
import os
import pwd
import stat
from dataclasses import dataclass
from pathlib import Path

_ACCOUNTS = ("pgserver", "nobody")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Account:
    """Whom PostgreSQL's programs run as, where that is not ourselves."""

    uid: int
    gid: int


def account_for(cluster: Path) -> Account | None:
    """Return whom `cluster` belongs to, or None where we are not root and run it ourselves.

    Raises LookupError where root finds no unprivileged account at all.
    """
    if os.geteuid() != 0:
        return None
    if cluster.exists() and (owner := cluster.stat()).st_uid != 0:
        return Account(owner.st_uid, owner.st_gid)
    for name in _ACCOUNTS:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(entry.pw_uid, entry.pw_gid)
    raise LookupError(f"PostgreSQL does not run as root, and there is none of the accounts {', '.join(_ACCOUNTS)}.")


def let_through(account: Account, path: Path) -> None:
    """Let `account` pass every directory above `path`; passing is not listing, so names stay hidden."""
    for ancestor in reversed(path.parents):
        status = ancestor.stat()
        if status.st_uid != account.uid and not status.st_mode & stat.S_IXOTH:
            _log.warning("%s: others may now pass through it, so that PostgreSQL reaches its files", ancestor)
            ancestor.chmod(status.st_mode | stat.S_IXOTH)


def let_read(account: Account, tree: Path) -> None:
    """Let `account` read and run what lies under `tree`, as an installation made under a strict umask needs."""
    let_through(account, tree)
    if tree.stat().st_mode & stat.S_IROTH:
        return
    for path in (tree, *tree.rglob("*")):
        if path.is_symlink():
            continue
        mode = path.stat().st_mode
        passing = stat.S_IXOTH if mode & stat.S_IXUSR else 0
        path.chmod(mode | stat.S_IROTH | passing)
