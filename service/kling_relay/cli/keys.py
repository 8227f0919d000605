"""`keys`: client keys and signing keys, straight in the database."""

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import click

from kling_relay.cli.connection import json_option
from kling_relay.cli.default_list import ListingGroup
from kling_relay.cli.errors import Failure, plain_errors
from kling_relay.cli.output import Output, local_time
from kling_relay.cli.time_arguments import Moment
from kling_relay.core.key import ALL_SCOPES, Scope, parse_scopes

if TYPE_CHECKING:
    from kling_relay.store.access.client_keys import KeyRow

SCOPES = click.Choice([scope.value for scope in Scope])


@click.group(cls=ListingGroup)
def keys() -> None:
    """Manage client keys, and re-encrypt secrets. Needs the settings of the service, not a key."""


@keys.command()
@click.argument("name")
@click.option("--scope", "scopes", multiple=True, type=SCOPES, help="A right of the key. Repeatable.  [default: all]")
@click.option(
    "--expires", type=Moment(ahead=True), help="The end of the key: 90d from now, or a time.  [default: never]"
)
@click.option("--client", help="The owner. Keys of one client share their data.  [default: NAME]")
@json_option
def create(name: str, scopes: tuple[str, ...], expires: datetime | None, client: str | None, as_json: bool) -> None:
    """Create a key and print it. Only its hash is stored, so it is never shown again."""
    with plain_errors(as_json=as_json):
        from kling_relay import app, settings  # noqa: PLC0415 - the whole service, half a second

        granted = parse_scopes(scopes) if scopes else ALL_SCOPES
        key = app.keys_create(settings.read(), name, client=client, scopes=granted, expires_at=expires)
    if as_json:
        expires_at = expires.isoformat() if expires else None
        Output(as_json).document(
            {"key": key, "name": name, "client": client or name, "scopes": sorted(granted), "expires_at": expires_at}
        )
    else:
        click.echo(key)


@keys.command("list")
@json_option
def list_(as_json: bool) -> None:
    """List all keys of all clients, without the keys themselves."""
    with plain_errors(as_json=as_json):
        from kling_relay import app, settings  # noqa: PLC0415 - as above

        listed = [_listed(row) for row in app.keys_list(settings.read())]
    output = Output(as_json)
    if as_json:
        output.document(listed)
        return
    rows = [
        (key.id, key.name, key.client, key.scopes, *map(local_time, (key.created_at, key.last_used_at)), _end(key))
        for key in listed
    ]
    empty = "No keys. Create one with `kling-relay keys create NAME`."
    output.table(("key", "name", "client", "scopes", "created", "last used", "end"), rows, empty)


@keys.command()
@click.argument("name")
@json_option
def revoke(name: str, as_json: bool) -> None:
    """Revoke all keys with this NAME, or the key with this id. They stop working within 5 s."""
    with plain_errors(as_json=as_json):
        from kling_relay import app, settings  # noqa: PLC0415 - as above

        count = app.keys_revoke(settings.read(), name)
        if not count:
            advice = "`kling-relay keys list` shows all keys."
            raise Failure(f"There is no valid key {name!r}.", advice=advice, as_json=as_json)
    if as_json:
        Output(as_json).document({"revoked": count})
    else:
        click.echo(f"{count} revoked.")


@keys.command()
@json_option
def reencrypt(as_json: bool) -> None:
    """Re-encrypt every stored secret with the first of RELAY_SIGNING_KEYS. The service may keep running."""
    with plain_errors(as_json=as_json):
        from kling_relay import app, settings  # noqa: PLC0415 - as above

        counts = app.keys_reencrypt(settings.read())
        if counts.undecryptable:
            raise Failure(
                f"{counts.undecryptable} secrets are encrypted with a key that is missing;"
                f" {counts.reencrypted} were re-encrypted.",
                advice="Add the missing key at the end of RELAY_SIGNING_KEYS, and run this again.",
                as_json=as_json,
            )
    if as_json:
        Output(as_json).document({"reencrypted": counts.reencrypted, "current": counts.current})
    else:
        click.echo(f"{counts.reencrypted} re-encrypted, {counts.current} already under the newest key.")


@dataclass(frozen=True, slots=True, kw_only=True)
class _ListedKey:
    """A key as `keys list` prints it; times are RFC 3339."""

    id: str
    name: str
    client: str
    scopes: tuple[str, ...]
    created_at: str
    last_used_at: str | None
    expires_at: str | None
    revoked_at: str | None


def _listed(row: "KeyRow") -> _ListedKey:
    times = {
        name: at.isoformat() if (at := getattr(row, name)) else None
        for name in ("last_used_at", "expires_at", "revoked_at")
    }
    return _ListedKey(
        id=str(row.id),
        name=row.name,
        client=row.client_name,
        scopes=tuple(sorted(row.scopes)),
        created_at=row.created_at.isoformat(),
        **times,
    )


def _end(key: _ListedKey) -> str:
    if key.revoked_at:
        return f"revoked {local_time(key.revoked_at)}"
    return f"expires {local_time(key.expires_at)}" if key.expires_at else ""
