"""`settings`, `openapi` and `completion`: the commands that explain kling-relay."""

from itertools import groupby

import click

from kling_relay.cli.connection import json_option
from kling_relay.cli.errors import plain_errors
from kling_relay.cli.output import Output, plain

SHELLS = click.Choice(["bash", "zsh", "fish"])


@click.command()
@json_option
@click.pass_context
def settings(ctx: click.Context, as_json: bool) -> None:
    """Print every setting with its meaning, default and value.

    A value is printed if it differs from the default. The exit code is 2 if a value is wrong.
    """
    with plain_errors(as_json=as_json):
        from kling_relay.settings import SettingsError, describe, read  # noqa: PLC0415 - a third of a second

        faults: tuple[str, ...] = ()
        try:
            rows = describe(read())
        except SettingsError as error:
            rows, faults = describe(), error.faults
    output = Output(as_json)
    if as_json:
        output.document({"settings": plain(rows), "faults": list(faults)})
    else:
        for group, members in groupby(rows, key=lambda row: row.group):
            click.echo(f"\n{click.style(group, bold=True)}\n")
            for row in members:
                value = "" if row.value in {None, row.default} else click.style(f"  now: {row.value}", fg="green")
                click.echo(f"  {row.name}  ({row.default}){value}\n      {row.meaning}")
    for fault in faults:
        click.echo(f"{click.style('Invalid setting:', fg='red')} {fault}", err=True)
    if faults:
        ctx.exit(2)


@click.command()
@json_option
def openapi(*, as_json: bool) -> None:
    """Print the OpenAPI 3.1 description of the API as JSON."""
    del as_json  # JSON is the only format
    with plain_errors():
        from kling_relay.provider.rulebook_file import load_rulebook  # noqa: PLC0415
        from kling_relay.settings import read  # noqa: PLC0415
        from kling_relay.web.spec.openapi import document  # noqa: PLC0415 - the whole web

        Output().document(document(load_rulebook(read().rulebook)))


@click.command()
@click.argument("shell", type=SHELLS)
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print a script that completes commands and options in SHELL.

    \b
    eval "$(kling-relay completion bash)"   # in ~/.bashrc
    eval "$(kling-relay completion zsh)"    # in ~/.zshrc
    kling-relay completion fish > ~/.config/fish/completions/kling-relay.fish
    """  # noqa: D301 - click's mark for lines that stay as they are
    from click.shell_completion import get_completion_class  # noqa: PLC0415 - beside its one use

    kind = get_completion_class(shell)
    if kind is not None:
        click.echo(kind(ctx.find_root().command, {}, "kling-relay", "_KLING_RELAY_COMPLETE").source())
