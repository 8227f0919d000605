"""The tree of commands. Its modules import only click and the core; a command imports the rest when it runs."""

import click
from typing_extensions import override

from kling_relay.cli import budgets, demo, doctor, events, explain, keys, serve, tasks, usage
from kling_relay.cli.deliveries import deliveries
from kling_relay.cli.subscriptions import subscriptions

NAME = "kling-relay"
COMMANDS: tuple[click.Command, ...] = (
    demo.demo,
    serve.up,
    serve.api,
    serve.worker,
    serve.migrate,
    serve.sandbox,
    keys.keys,
    explain.settings,
    doctor.doctor,
    tasks.submit,
    tasks.tasks,
    tasks.watch,
    events.events,
    events.listen,
    subscriptions,
    deliveries,
    usage.usage,
    usage.prices,
    budgets.budgets,
    budgets.bill,
    budgets.reconcile,
    explain.openapi,
    explain.completion,
)


class Program(click.Group):
    """Commands in the order in which a user meets them, not in alphabetical order."""

    @override
    def list_commands(self, ctx: click.Context) -> list[str]:
        return [command.name or "" for command in COMMANDS]


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="kling-relay", message="%(package)s %(version)s")
@click.option("--debug", is_flag=True, help="Show tracebacks.")
@click.option("--no-color", envvar="NO_COLOR", hidden=True)  # no-color.org: any value
@click.pass_context
def program(ctx: click.Context, debug: bool, no_color: str | None) -> None:  # noqa: ARG001 - main looks for --debug
    """A service between a back end and Kling: orders, callbacks, events, deliveries.

    `kling-relay demo` shows all of it on this machine. Commands that call a service take its address from --url
    (RELAY_URL) and a client key from --key (RELAY_KEY). Commands that run the service read its settings
    (`kling-relay settings`).

    Exit codes: 0 done, 1 refused or failed, 2 wrong usage or settings, 3 no answer, 4 not final in time.
    """
    if no_color:
        ctx.color = False


for _command in COMMANDS:
    program.add_command(_command)
