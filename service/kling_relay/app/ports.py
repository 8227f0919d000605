"""The ports of this machine: who holds one that is in use, and whether it may be shared.

Processes of one deployment may share RELAY_PORT (SO_REUSEPORT), as in a rolling restart. The kernel would let any two
services share it, and each would get some of the other's requests. So the process that listens is asked whose it is.
"""

import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import aiohttp
import psutil

from kling_relay.app.database import database_url, has_embedded_database
from kling_relay.app.database_errors import explained
from kling_relay.core.address import local_url
from kling_relay.settings import Settings
from kling_relay.store.postgres.database import connect_once, deployment_id
from kling_relay.web.api.health import DEPLOYMENT_HEADER

_ANSWER_WITHIN = 2.0
"""Seconds in which the process that listens must say whose it is."""


class PortError(Exception):
    """A port cannot be used. The text names the port, its setting and the process that holds it, if it can be known."""

    def __init__(self, message: str, advice: str) -> None:
        super().__init__(message)
        self.advice = advice


def listening(host: str, port: int) -> socket.socket:
    """Return a bound socket whose port other processes of ours may share (SO_REUSEPORT)."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        bound.bind((host, port))
    except BaseException:
        bound.close()
        raise
    return bound


def is_free(host: str, port: int) -> bool:
    """Return whether nothing listens on the port."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((host, port))
        except OSError:
            return False
    return True


@contextmanager
def naming_port(host: str, port: int, setting: str) -> Iterator[None]:
    """Turn the error of a port that cannot be bound into a PortError that names `setting`."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise PortError(*_in_use(port, setting)) from error
        if error.errno == errno.EACCES:
            advice = f"Choose a port above 1023: {setting}{_sign(setting)}8080."
            raise PortError(f"Port {port} of {setting} needs the rights of an administrator.", advice) from error
        if error.errno == errno.EADDRNOTAVAIL:
            raise PortError(f"{host} is not an address of this machine.", "Check RELAY_HOST.") from error
        raise


def _in_use(port: int, setting: str, holder: str = "") -> tuple[str, str]:
    owner = holder or f"in use{_holder(port)}"
    advice = f"Stop what listens there, or choose another port: {setting}{_sign(setting)}{_next(port)}."
    return f"Port {port} is {owner}; {setting} chooses it.", advice


def _sign(setting: str) -> str:
    return " " if setting.startswith("--") else "="


def _next(port: int) -> int:
    return port + 1 if port < 65535 else port - 1


def _holder(port: int) -> str:
    """Return the process that listens on the port, for a sentence, or nothing if this user may not know it."""
    with suppress(psutil.Error, OSError):
        for connection in psutil.net_connections("tcp"):
            if connection.laddr and connection.laddr.port == port and connection.status == psutil.CONN_LISTEN:
                if connection.pid is None:
                    continue
                process = psutil.Process(connection.pid)
                return f" by {process.name()} (process {process.pid}{_directory(process)})"
    return ""


def _directory(process: psutil.Process) -> str:
    with suppress(psutil.Error, OSError):
        return f", in {process.cwd()}"
    return ""


def with_free_metrics_port(settings: Settings) -> Settings:
    """Return settings with a free port for metrics if none was chosen and the usual one is in use.

    So a second `up` on a machine needs only a port of its own.
    """
    usual = range(settings.metrics_port, settings.metrics_port + settings.processes)
    if "metrics_port" in settings.model_fields_set or all(is_free(settings.host, port) for port in usual):
        return settings
    return settings.model_copy(update={"metrics_port": 0})


async def refuse_other_deployment(settings: Settings, own: str) -> None:
    """Raise PortError if another deployment than `own` has begun to listen on RELAY_PORT while this process started.

    `shares_port` cannot ask a process that has only reserved the port. Call this before ours listens.
    """
    if settings.share_port:
        return
    deployment = await _deployment_at(settings.host, settings.port)
    if deployment not in {None, own}:
        raise _other_deployment(settings.port, deployment or "")


async def shares_port(settings: Settings) -> bool:
    """Return whether another process of this deployment listens on RELAY_PORT; it gets some of the requests.

    Raises PortError if another program or another deployment listens there, unless RELAY_SHARE_PORT allows it.
    """
    host, port = settings.host, settings.port
    if not port or is_free(host, port):
        return False
    if settings.share_port:
        return True
    deployment = await _deployment_at(host, port)
    if deployment is None:
        return False
    if deployment and deployment == await _own_deployment(settings):
        return True
    raise _other_deployment(port, deployment)


def _other_deployment(port: int, deployment: str) -> PortError:
    other = "another deployment of kling-relay" if deployment else "a kling-relay that does not say which it is"
    return PortError(*_in_use(port, "RELAY_PORT", f"in use by {other}{_holder(port).replace(' by ', ': ', 1)}"))


async def _deployment_at(host: str, port: int) -> str | None:
    """Return the deployment that listens on the port, "" if it does not say, or None if nothing listens.

    Raises PortError if it is another program.
    """
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_ANSWER_WITHIN)) as session,
            session.get(f"{local_url(host, port)}/livez", allow_redirects=False) as response,
        ):
            if DEPLOYMENT_HEADER in response.headers or "X-Request-Id" in response.headers:
                return response.headers.get(DEPLOYMENT_HEADER, "")
    except aiohttp.ClientConnectorError:
        return None
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError):
        pass
    raise PortError(*_in_use(port, "RELAY_PORT"))


async def _own_deployment(settings: Settings) -> str:
    """Return the deployment of these settings' database, or "" if there is none yet or it does not say."""
    if settings.database_url is None and not has_embedded_database(settings):
        return ""
    async with database_url(settings) as url:
        with explained(url):
            connection = await connect_once(url)
        try:
            return await deployment_id(connection)
        finally:
            await connection.close()
