"""`keys`: client keys from the operator's side, straight in the database."""

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import click

from kling_relay.cli.connection import json_option
from kling_relay.cli.errors import Failure, told
from kling_relay.cli.listing import ListingGroup
from kling_relay.cli.output import Screen, moment
from kling_relay.cli.time_arguments import Moment
from kling_relay.core.key import ALL_SCOPES, Scope, parse_scopes

if TYPE_CHECKING:
    from kling_relay.store.access.client_keys import KeyRow

SCOPES = click.Choice([scope.value for scope in Scope])


@click.group(cls=ListingGroup)
def keys() -> None:
    """Client keys: create, list, revoke; signing keys: reencrypt. Needs the service's own settings, not a key."""


@keys.command()
@click.argument("name")
@click.option("--scope", "scopes", multiple=True, type=SCOPES, help="What it may do; several.  [default: all]")
@click.option("--expires", type=Moment(ahead=True), help="When it ends: 90d from now, or a time.  [default: never]")
@click.option("--client", help="Whose it is; keys of one client see the same things.  [default: NAME]")
@json_option
def create(name: str, scopes: tuple[str, ...], expires: datetime | None, client: str | None, as_json: bool) -> None:
    """Make a key and print it alone: it is kept nowhere in the clear, so this is the only time."""
    with told(as_json=as_json):
        from kling_relay import app, settings  # noqa: PLC0415 - the whole service, half a second

        wanted = parse_scopes(scopes) if scopes else ALL_SCOPES
        key = app.keys_create(settings.read(), name, client=client, scopes=wanted, expires_at=expires)
    if as_json:
        expires_at = expires.isoformat() if expires else None
        Screen(as_json).document(
            {"key": key, "name": name, "client": client or name, "scopes": sorted(wanted), "expires_at": expires_at}
        )
    else:
        click.echo(key)


@keys.command("list")
@json_option
def list_(as_json: bool) -> None:
    """List all keys of all clients, without their texts."""
    with told(as_json=as_json):
        from kling_relay import app, settings  # noqa: PLC0415 - as above

        found = [_shown(row) for row in app.keys_list(settings.read())]
    screen = Screen(as_json)
    if as_json:
        screen.document(found)
        return
    rows = [
        (key.id, key.name, key.client, key.scopes, *map(moment, (key.created_at, key.last_used_at)), _end(key))
        for key in found
    ]
    empty = "No keys. `kling-relay keys create NAME` makes one."
    screen.table(("key", "name", "client", "scopes", "made", "last used", "end"), rows, empty)


@keys.command()
@click.argument("name")
@json_option
def revoke(name: str, as_json: bool) -> None:
    """Revoke every key of this NAME, or the key of this id; they stop working within 5 s."""
    with told(as_json=as_json):
        from kling_relay import app, settings  # noqa: PLC0415 - as above

        count = app.keys_revoke(settings.read(), name)
        if not count:
            advice = "`kling-relay keys list` shows them all."
            raise Failure(f"There is no key {name!r} that still holds.", advice=advice, as_json=as_json)
    if as_json:
        Screen(as_json).document({"revoked": count})
    else:
        click.echo(f"{count} revoked.")


@keys.command()
@json_option
def reencrypt(as_json: bool) -> None:
    """Encrypt every stored secret again, with the newest of RELAY_SIGNING_KEYS; safe beside a running service."""
    with told(as_json=as_json):
        from kling_relay import app, settings  # noqa: PLC0415 - as above

        counts = app.keys_reencrypt(settings.read())
        if counts.undecryptable:
            raise Failure(
                f"{counts.undecryptable} secrets are under a key that RELAY_SIGNING_KEYS does not have;"
                f" {counts.reencrypted} were re-encrypted.",
                advice="Add the missing key at the end of RELAY_SIGNING_KEYS, and run this again.",
                as_json=as_json,
            )
    if as_json:
        Screen(as_json).document({"reencrypted": counts.reencrypted, "current": counts.current})
    else:
        click.echo(f"{counts.reencrypted} re-encrypted, {counts.current} already under the newest key.")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shown:
    """A key as it is listed; times are RFC 3339."""

    id: str
    name: str
    client: str
    scopes: tuple[str, ...]
    created_at: str
    last_used_at: str | None
    expires_at: str | None
    revoked_at: str | None


def _shown(row: "KeyRow") -> _Shown:
    times = {
        name: at.isoformat() if (at := getattr(row, name)) else None
        for name in ("last_used_at", "expires_at", "revoked_at")
    }
    return _Shown(
        id=str(row.id),
        name=row.name,
        client=row.client_name,
        scopes=tuple(sorted(row.scopes)),
        created_at=row.created_at.isoformat(),
        **times,
    )


def _end(key: _Shown) -> str:
    if key.revoked_at:
        return f"revoked {moment(key.revoked_at)}"
    return f"expires {moment(key.expires_at)}" if key.expires_at else ""
