"""`settings`, `openapi` and `completion`: what can be set, what can be called, and what the shell can finish."""

from itertools import groupby

import click

from kling_relay.cli.connection import json_option
from kling_relay.cli.errors import told
from kling_relay.cli.output import Screen, plain

SHELLS = click.Choice(["bash", "zsh", "fish"])


@click.command()
@json_option
@click.pass_context
def settings(ctx: click.Context, as_json: bool) -> None:
    """Print every setting, its default and its value now.

    A value is shown where it differs from the default. Exits with 2 where one is wrong.
    """
    from kling_relay.settings import SettingsError, describe, read  # noqa: PLC0415 - a third of a second

    faults: tuple[str, ...] = ()
    try:
        rows = describe(read())
    except SettingsError as error:
        rows, faults = describe(), error.faults
    screen = Screen(as_json)
    if as_json:
        screen.document({"settings": plain(rows), "faults": list(faults)})
    else:
        for group, members in groupby(rows, key=lambda row: row.group):
            click.echo(f"\n{click.style(group, bold=True)}\n")
            for row in members:
                now = "" if row.value in {None, row.default} else click.style(f"  now: {row.value}", fg="green")
                click.echo(f"  {row.name}  ({row.default}){now}\n      {row.meaning}")
    for fault in faults:
        click.echo(f"{click.style('Wrong:', fg='red')} {fault}", err=True)
    if faults:
        ctx.exit(2)


@click.command()
@json_option
def openapi(*, as_json: bool) -> None:
    """Print the API's description (OpenAPI 3.1), as JSON."""
    del as_json  # there is no other form
    with told():
        from kling_relay.web.spec.openapi import document  # noqa: PLC0415 - the whole web

        Screen().document(document())


@click.command()
@click.argument("shell", type=SHELLS)
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print what makes a SHELL complete commands and options.

    For bash: eval "$(kling-relay completion bash)" in ~/.bashrc; the same in ~/.zshrc for zsh; for fish:
    kling-relay completion fish > ~/.config/fish/completions/kling-relay.fish
    """
    from click.shell_completion import get_completion_class  # noqa: PLC0415 - beside its one use

    kind = get_completion_class(shell)
    if kind is not None:
        click.echo(kind(ctx.find_root().command, {}, "kling-relay", "_KLING_RELAY_COMPLETE").source())
