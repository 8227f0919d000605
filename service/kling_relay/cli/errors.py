"""How a command ends that fails: with a sentence, advice and an exit code, never with a traceback.

0 done · 1 refused or failed · 2 wrong usage or settings · 3 no answer, try again · 4 not final in time · 130 Ctrl-C.
"""

import json
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import click
from typing_extensions import override


class Failure(click.ClickException):
    """The end of a command: a sentence with advice, or one JSON object after --json."""

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


class UsageFailure(Failure):
    """The usage or the settings are wrong, or the command needs an extra that is not installed."""

    exit_code = 2


class NoAnswerFailure(Failure):
    """Nothing answered; trying again may help."""

    exit_code = 3


class NotFinalFailure(Failure):
    """The task was not final in time."""

    exit_code = 4


_BY_EXIT_CODE = {kind.exit_code: kind for kind in (Failure, UsageFailure, NoAnswerFailure, NotFinalFailure)}

_DATABASE_ERRORS = "kling_relay.app.database_errors"

# By module and name: importing these modules would cost half a second, and needs the server's packages.
_SERVER_ERRORS: tuple[tuple[str, str, type[Failure], str], ...] = (
    (_DATABASE_ERRORS, "MissingDatabaseError", UsageFailure, ""),
    (_DATABASE_ERRORS, "DatabaseAwayError", NoAnswerFailure, ""),
    (_DATABASE_ERRORS, "DatabaseError", Failure, ""),
    ("kling_relay.app.ports", "PortError", Failure, ""),
    ("kling_relay.settings", "SettingsError", UsageFailure, "`kling-relay settings` explains every setting."),
    ("kling_relay.observe.tracing", "MissingExtraError", UsageFailure, "Or leave RELAY_OTLP_ENDPOINT unset."),
    (
        "kling_relay.core.errors",
        "ConfigurationError",
        UsageFailure,
        "Correct the file, or use one that comes with kling-relay.",
    ),
    ("kling_relay.sandbox", "ProfileError", UsageFailure, "docs/sandbox.md lists the options."),
    (
        "kling_relay.store.embedded.server",
        "MissingPostgresError",
        UsageFailure,
        "Or use a PostgreSQL of your own: RELAY_DATABASE_URL.",
    ),
    (
        "kling_relay.store.embedded.server",
        "EmbeddedError",
        Failure,
        "Or use a PostgreSQL of your own: RELAY_DATABASE_URL.",
    ),
    ("kling_relay.store.schema.migrate", "MigrationError", Failure, "`kling-relay migrate` upgrades the schema."),
    (
        "kling_relay.store.schema.partitions",
        "NotTableOwnerError",
        Failure,
        'See "Two roles" in docs/operations.md for the rights that each role needs.',
    ),
    (
        "kling_relay.store.postgres.statement",
        "CollisionError",
        NoAnswerFailure,
        "A worker is doing this already. Do nothing.",
    ),
    (
        "kling_relay.store.access.encryption",
        "DecryptionError",
        UsageFailure,
        "RELAY_SIGNING_KEYS must still contain the key that it was encrypted with.",
    ),
    (
        "kling_relay.store.postgres.statement",
        "StoreUnavailableError",
        NoAnswerFailure,
        "`kling-relay doctor` checks the database.",
    ),
    ("asyncpg", "PostgresError", NoAnswerFailure, "`kling-relay doctor` checks the database."),
)


@contextmanager
def plain_errors(*, as_json: bool = False, extra: str = "server") -> Iterator[None]:
    """Turn every known error in the block into a Failure.

    `extra` is the extra of the distribution to suggest if a package is missing.
    """
    try:
        yield
    except (click.ClickException, click.exceptions.Exit, click.Abort):
        raise
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("kling_relay"):
            raise
        raise _missing_extra(extra, error.name, as_json) from error
    except Exception as error:
        if _is_output_closed(error):
            raise  # click ends quietly then
        failure = _from_client(error, as_json) or _from_server(error, as_json) or _from_system(error, as_json)
        if failure is None:
            raise
        raise failure from error


def _missing_extra(extra: str, package: str, as_json: bool) -> Failure:
    command = click.get_current_context().command_path
    message = f"`{command}` needs the server: pip install 'kling-relay[{extra}]'"
    return UsageFailure(message, as_json=as_json, missing=package)


def _from_client(error: Exception, as_json: bool) -> Failure | None:
    from kling_relay.client import errors  # noqa: PLC0415 - a third of a second, paid only after an error

    if not isinstance(error, errors.RelayError):
        return None
    more: dict[str, Any] = {}
    if isinstance(error, errors.RefusedError):
        more = {"status": error.status, "code": error.code, "request_id": error.request_id}
        if error.faults:
            more["faults"] = [{"field": fault.field, "detail": fault.detail} for fault in error.faults]
    message = str(error) or (type(error).__doc__ or "")
    return _BY_EXIT_CODE[error.exit_code](message, advice=error.advice, as_json=as_json, **more)


def _from_server(error: Exception, as_json: bool) -> Failure | None:
    for module, name, ending, advice in _SERVER_ERRORS:
        kind = getattr(sys.modules.get(module), name, ())  # whoever raised it has imported the module
        if isinstance(error, kind):
            return ending(str(error), advice=advice or getattr(error, "advice", ""), as_json=as_json)
    return None


def _is_output_closed(error: Exception) -> bool:
    """Return whether the reader of our standard output has gone, as `head` does. Any other broken pipe is an error."""
    if not isinstance(error, BrokenPipeError):
        return False
    try:
        sys.stdout.flush()
        return _has_no_reader(sys.stdout.fileno())
    except BrokenPipeError:
        return True
    except (OSError, ValueError):  # no file
        return False


def _has_no_reader(descriptor: int) -> bool:
    """Return whether a pipe has lost its reader; an output without a buffer has nothing to flush that would tell."""
    if not hasattr(select, "poll"):
        return False
    poll = select.poll()
    poll.register(descriptor, 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def _from_system(error: Exception, as_json: bool) -> Failure | None:
    if not isinstance(error, OSError):
        return None
    if isinstance(error, ConnectionError | TimeoutError):
        advice = "`kling-relay doctor` checks the database."
        return NoAnswerFailure(f"The database does not answer: {error}", advice=advice, as_json=as_json)
    where = f"{error.filename}: " if error.filename else ""
    return Failure(f"{where}{error.strerror or error}.", as_json=as_json)
