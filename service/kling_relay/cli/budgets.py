"""`budgets`, `bill` and `reconcile`: money from the operator's side, straight in the database."""

from collections.abc import Callable, Coroutine
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypeVar

import click
from typing_extensions import override

from kling_relay.cli.connection import json_option
from kling_relay.cli.errors import Failure, told
from kling_relay.cli.listing import ListingGroup
from kling_relay.cli.output import Screen
from kling_relay.cli.time_arguments import Moment
from kling_relay.cli.usage import GROUPS
from kling_relay.core.budget import LIMIT_NAMES, Limits
from kling_relay.core.money import money, plain

if TYPE_CHECKING:
    from kling_relay.flows.reconcile import Report
    from kling_relay.settings import Settings

Result = TypeVar("Result")


class Figure(click.ParamType[Decimal]):
    """An amount of money."""

    name = "amount"

    @override
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Decimal:
        found = value if isinstance(value, Decimal) else money(value)
        if found is None:
            self.fail(f"{value!r} is no amount: write 99 or 99.5.")
        return found


@click.group(cls=ListingGroup)
def budgets() -> None:
    """Limits of clients and keys: list, set. Needs the service's own settings, not a key."""


@budgets.command("list")
@json_option
def list_(as_json: bool) -> None:
    """List what has a limit, with what is spent of it: in all, today, this month, reserved at once."""
    with told(as_json=as_json):
        from kling_relay.app import billing  # noqa: PLC0415 - the whole service, half a second

        found = _run(billing.limited)
    screen = Screen(as_json)
    if as_json:
        screen.document(
            [
                {
                    "client": str(spender.client),
                    "key": str(spender.key) if spender.key else None,
                    "name": spender.name,
                    "limits": spender.limits.to_json(),
                    "spent": spent.to_json(),
                }
                for spender, spent in found
            ]
        )
        return
    rows = [
        (
            "key" if spender.key else "client",
            spender.name,
            *(
                ""
                if (limit := getattr(spender.limits, name)) is None
                else f"{plain(getattr(spent, name))}/{plain(limit)}"
                for name in LIMIT_NAMES
            ),
        )
        for spender, spent in found
    ]
    screen.table(("of", "name", "total", "today", "month", "open"), rows, "Nobody has a limit.")


@budgets.command("set")
@click.argument("name")
@click.option("--total", type=Figure(), help="The most in all.")
@click.option("--day", type=Figure(), help="The most per day (UTC).")
@click.option("--month", type=Figure(), help="The most per month (UTC).")
@click.option("--open", "open_", type=Figure(), help="The most reserved at once.")
@click.option("--of-key", is_flag=True, help="NAME is a key's name or id, not a client's.")
@json_option
def set_(
    name: str,
    total: Decimal | None,
    day: Decimal | None,
    month: Decimal | None,
    open_: Decimal | None,
    of_key: bool,
    as_json: bool,
) -> None:
    """Give the client NAME exactly these limits; what is not said is without limit. They hold within two seconds."""
    limits = Limits(total=total, day=day, month=month, open=open_)
    with told(as_json=as_json):
        from kling_relay.app import billing  # noqa: PLC0415 - as above

        count = _run(lambda settings: billing.set_limits(settings, name, limits, of_key=of_key))
        if not count:
            whose = "key" if of_key else "client"
            raise Failure(f"There is no {whose} {name!r}.", advice="`kling-relay keys list` shows them all.")
    if as_json:
        Screen(as_json).document({"set": count, "limits": limits.to_json()})
    else:
        said = ", ".join(f"{limit} {plain(getattr(limits, limit))}" for limit in limits.names)
        click.echo(f"{name}: {said or 'no limit'}")


@click.command()
@click.option("--since", type=Moment(), default="30d", show_default=True, help="Since: 7d, 2026-11-01 …")
@click.option("--until", type=Moment(), help="Until.  [default: now]")
@click.option(
    "--by", multiple=True, type=click.Choice(GROUPS), default=("client", "month"), show_default=True, help="Groups."
)
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
@json_option
def bill(since: datetime, until: datetime | None, by: tuple[str, ...], as_csv: bool, as_json: bool) -> None:
    """Print what every client used, from the ledger."""
    with told(as_json=as_json):
        from kling_relay.app import billing  # noqa: PLC0415 - as above
        from kling_relay.store.money.usage import FIGURES, figures, sheet  # noqa: PLC0415 - as above

        lines = _run(lambda settings: billing.used(settings, by, since, until))
    screen = Screen(as_json)
    if as_csv:
        click.echo(sheet(lines, by), nl=False)
    elif as_json:
        screen.document([{"by": line.by, **figures(line)} for line in lines])
    else:
        rows = [
            (*(line.by[name] for name in by), *(figures(line)[name] for name in FIGURES), line.currency)
            for line in lines
        ]
        screen.table((*by, *FIGURES, ""), rows, "Nothing was ordered in this time.")


@click.command()
@click.option("--since", type=Moment(), default="7d", show_default=True, help="Tasks ordered since: 7d, 2026-11-01 …")
@click.option("--until", type=Moment(), help="Until.  [default: now]")
@click.option("--ask-all", is_flag=True, help="Ask the provider about every task, also where it has said how it ended.")
@json_option
def reconcile(since: datetime, until: datetime | None, ask_all: bool, as_json: bool) -> None:
    """Compare the ledger with the provider's figures.

    Every difference is listed with its task. It changes nothing. The exit code is 1 where there are differences.
    """
    with told(as_json=as_json):
        from kling_relay.app import billing  # noqa: PLC0415 - as above

        report = _run(lambda settings: billing.reconcile(settings, since, until, ask_all=ask_all))
    if as_json:
        Screen(as_json).document(report.to_json())
    else:
        _print(report)
    if report.differences:
        raise click.exceptions.Exit(1)


def _print(report: "Report") -> None:
    screen = Screen()
    rows = [
        (each.task, each.client, each.about, each.status, plain(each.ours), _or_unknown(each.theirs), each.detail)
        for each in report.differences
    ]
    screen.table(("task", "client", "about", "status", "ours", "theirs", "detail"), rows, "No differences.")
    screen.say(
        f"{report.tasks} tasks, {report.asked} asked about, {report.silent} without an answer,"
        f" {len(report.differences)} differences."
    )
    if isinstance(report.account, str):
        screen.say(f"The account: {report.account}.")
    else:
        shown = report.account.to_json()
        screen.say(f"The account: {shown['used']} used, {shown['ours']} in the ledger, {shown['difference']} between.")


def _or_unknown(amount: Decimal | None) -> str:
    return "?" if amount is None else plain(amount)


def _run(work: "Callable[[Settings], Coroutine[Any, Any, Result]]") -> Result:
    """Run what `work` makes of the settings."""
    from kling_relay import settings  # noqa: PLC0415 - as above
    from kling_relay.app.commands import in_loop  # noqa: PLC0415 - as above

    return in_loop(work(settings.read()))
