"""Why the database cannot be used, as a sentence and advice. `doctor` and the start of a process say the same."""

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg

from kling_relay.settings import server_place
from kling_relay.store.postgres.statement import StoreError

_ADVICE = "Check RELAY_DATABASE_URL, and that PostgreSQL runs and accepts connections from this machine."


class DatabaseError(Exception):
    """The database cannot be used as it is; the text says where it is and why. Trying again does not help."""

    def __init__(self, message: str, advice: str) -> None:
        super().__init__(message)
        self.advice = advice


class DatabaseAwayError(DatabaseError):
    """The database cannot be reached, or does not accept connections now."""


class MissingDatabaseError(DatabaseError):
    """There is no embedded database where the settings say, and this command does not make one."""


class OutdatedSchemaError(DatabaseError):
    """The schema is missing, or older than this release."""


@contextmanager
def explained(url: str) -> Iterator[None]:
    """Turn every error of connecting to `url` into a DatabaseError that names the place."""
    try:
        yield
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, StoreError) as error:
        reason, advice = explain(error)
        kind = DatabaseAwayError if _is_away(error) else DatabaseError
        sentence = f"The database at {server_place(url)} {reason}"
        raise kind(sentence, f"{advice} `kling-relay doctor` checks the database.") from error


def explain(error: Exception) -> tuple[str, str]:
    """Return what the database does, for the end of a sentence that begins with it, and advice."""
    cause = _cause(error)
    if isinstance(cause, ssl.SSLError):
        return f"cannot be reached by TLS: {tls_reason(cause)}.", _TLS_ADVICE
    if isinstance(cause, FileNotFoundError) and not _is_socket(cause):
        return f"needs a file that does not exist: {cause.filename}.", _TLS_ADVICE
    if isinstance(cause, OSError) and _is_refused(cause):
        return "does not run, or does not listen there.", _ADVICE
    for kind, reason, advice in _REASONS:
        if isinstance(cause, kind):
            return reason.format(str(cause).rstrip(".")), advice
    return f"cannot be used: {str(cause) or type(cause).__name__}".rstrip(".") + ".", _ADVICE


_TLS_ADVICE = (
    "Check sslmode and sslrootcert in RELAY_DATABASE_URL. sslmode=require encrypts without a check of the certificate."
)


_REASONS: tuple[tuple[type[Exception], str, str], ...] = (
    (socket.gaierror, "has a host name that this machine cannot resolve.", "Check the host in RELAY_DATABASE_URL."),
    (TimeoutError, "does not answer in time.", _ADVICE),
    (
        asyncpg.InvalidAuthorizationSpecificationError,
        "refuses us: {}.",
        "Check the user and the password in RELAY_DATABASE_URL, and the server's pg_hba.conf.",
    ),
    (
        asyncpg.InvalidCatalogNameError,
        "refuses us: {}.",
        "Create the database that RELAY_DATABASE_URL names: CREATE DATABASE … ENCODING 'UTF8'.",
    ),
    (
        asyncpg.TooManyConnectionsError,
        "refuses us: {}.",
        "Raise the server's max_connections, or use a PgBouncer (RELAY_DATABASE_POOLER).",
    ),
    (asyncpg.CannotConnectNowError, "is not ready: {}.", "Wait until it is, and try again."),
    (asyncpg.UndefinedTableError, "has no tables of kling-relay.", "Run `kling-relay migrate`."),
    (asyncpg.UndefinedColumnError, "has a schema of another release: {}.", "Run `kling-relay migrate`."),
    (
        asyncpg.InsufficientPrivilegeError,
        "refuses us: {}.",
        'See "Two roles" in docs/operations.md for the rights that each role needs.',
    ),
)
"""By kind of error: what the database does, and advice."""


def tls_reason(error: ssl.SSLError) -> str:
    """Return why TLS failed, without the numbers and names of OpenSSL."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate is not valid: {error.verify_message}"
    return (error.reason or str(error)).replace("_", " ").lower()


def _cause(error: Exception) -> BaseException:
    """Return the driver's error behind an error of the store."""
    return (error.__cause__ or error) if isinstance(error, StoreError) else error


def _is_socket(error: FileNotFoundError) -> bool:
    """Return whether the missing file is the server's socket; the driver then names no file."""
    return not error.filename or "PGSQL" in str(error.filename)


def _is_refused(error: OSError) -> bool:
    """Return whether nothing listens. If a host has several addresses, asyncio joins their errors to one text."""
    return isinstance(error, FileNotFoundError | ConnectionRefusedError) or "Connect call failed" in str(error)


def _is_away(error: Exception) -> bool:
    """Return whether the same call may work later."""
    cause = _cause(error)
    if isinstance(cause, FileNotFoundError):
        return _is_socket(cause)
    return isinstance(cause, _AWAY) and not isinstance(cause, ssl.SSLError)


_AWAY = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
)
