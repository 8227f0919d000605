"""How a command ends that could not do its work: a sentence, what to do about it, and an exit code; no traceback.

0 done · 1 refused or failed · 2 wrong usage or settings · 3 no answer, try again · 4 not final in time · 130 Ctrl-C.
"""

import errno
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import IO, Any

import click
from typing_extensions import override


class Failure(click.ClickException):
    """A command's end in a sentence, with advice; as one JSON object where JSON was asked for."""

    exit_code = 1

    def __init__(self, message: str, *, advice: str = "", as_json: bool = False, **more: Any) -> None:
        super().__init__(message)
        self.advice = advice
        self.as_json = as_json
        self.more = more

    @override
    def show(self, file: IO[Any] | None = None) -> None:
        if self.as_json:
            content = {"error": self.message, "advice": self.advice, **self.more}
            click.echo(json.dumps(content, ensure_ascii=False), err=True)
            return
        faults = self.more.get("faults", ())
        message = "The request is not valid:" if faults else self.message
        click.echo(click.style("Error: ", fg="red", bold=True) + message, err=True)
        for fault in faults:
            click.echo(f"  {fault['field']}: {fault['detail']}", err=True)
        if self.advice:
            click.echo(click.style("What to do: ", bold=True) + self.advice, err=True)


class Misused(Failure):
    """Wrong usage or settings."""

    exit_code = 2


class Away(Failure):
    """No answer: trying again may help."""

    exit_code = 3


class NotYet(Failure):
    """Not final in time."""

    exit_code = 4


# Named by module, because importing all of them would cost each command half a second.
_OF_SERVER: tuple[tuple[str, str, type[Failure], str], ...] = (
    ("kling_relay.settings", "SettingsError", Misused, "`kling-relay settings` explains every setting."),
    ("kling_relay.observe.tracing", "MissingExtraError", Misused, "Or leave RELAY_OTLP_ENDPOINT unset."),
    ("kling_relay.core.errors", "ConfigurationError", Misused, "Mend the file, or take one that comes along."),
    ("kling_relay.sandbox", "ProfileError", Misused, "docs/sandbox.md lists the options."),
    (
        "kling_relay.store.embedded.server",
        "EmbeddedError",
        Failure,
        "Or use a PostgreSQL of your own: RELAY_DATABASE_URL.",
    ),
    ("kling_relay.store.schema.migrate", "MigrationError", Failure, "`kling-relay migrate` brings the schema up."),
    (
        "kling_relay.store.schema.partitions",
        "NotOurTablesError",
        Failure,
        'docs/operations.md, "Two roles", says who may what.',
    ),
    ("kling_relay.store.postgres.statement", "CollisionError", Away, "A worker is at it; there is nothing to do."),
    (
        "kling_relay.store.access.encryption",
        "DecryptionError",
        Misused,
        "RELAY_SIGNING_KEYS must still have the key that it was encrypted with.",
    ),
    (
        "kling_relay.store.postgres.statement",
        "StoreUnavailableError",
        Away,
        "`kling-relay doctor` looks at the database.",
    ),
    ("asyncpg", "PostgresError", Away, "`kling-relay doctor` looks at the database."),
)


@contextmanager
def told(*, as_json: bool = False) -> Iterator[None]:
    """Turn what is known to go wrong inside the block into a Failure."""
    try:
        yield
    except (click.ClickException, click.exceptions.Exit, click.Abort):
        raise
    except Exception as error:
        if _reader_left(error):
            raise  # click ends quietly then
        failure = _of_client(error, as_json) or _of_server(error, as_json) or _of_system(error, as_json)
        if failure is None:
            raise
        raise failure from error


def _of_client(error: Exception, as_json: bool) -> Failure | None:
    from kling_relay.client import errors  # noqa: PLC0415 - a third of a second, paid only when something went wrong

    if not isinstance(error, errors.RelayError):
        return None
    ending: type[Failure] = Failure
    if isinstance(error, errors.UnreachableError | errors.UnavailableError | errors.RateLimitedError):
        ending = Away
    elif isinstance(error, errors.NotFinalError):
        ending = NotYet
    more: dict[str, Any] = {}
    if isinstance(error, errors.RefusedError):
        more = {"status": error.status, "code": error.code, "request_id": error.request_id}
        if error.faults:
            more["faults"] = [{"field": fault.field, "detail": fault.detail} for fault in error.faults]
    message = str(error) or (type(error).__doc__ or "")
    return ending(message, advice=error.advice, as_json=as_json, **more)


def _of_server(error: Exception, as_json: bool) -> Failure | None:
    for module, name, ending, advice in _OF_SERVER:
        kind = getattr(import_module(module), name)
        if isinstance(error, kind):
            return ending(str(error), advice=advice, as_json=as_json)
    return None


def _reader_left(error: Exception) -> bool:
    """Whether whoever read our standard output has gone, as `head` does; any other pipe that broke is a fault."""
    if not isinstance(error, BrokenPipeError):
        return False
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        return True
    return False


def _of_system(error: Exception, as_json: bool) -> Failure | None:
    if not isinstance(error, OSError):
        return None
    if error.errno == errno.EADDRINUSE:
        advice = "Stop what listens there, or choose another port: RELAY_PORT=8081."
        return Failure("The port is in use by somebody else.", advice=advice, as_json=as_json)
    if isinstance(error, ConnectionError | TimeoutError):
        advice = "`kling-relay doctor` looks at it."
        return Away(f"The database does not answer: {error}", advice=advice, as_json=as_json)
    where = f"{error.filename}: " if error.filename else ""
    return Failure(f"{where}{error.strerror or error}.", as_json=as_json)
