"""`budgets`, `bill` and `reconcile`: the operator's view of money, straight from the database."""

from collections.abc import Callable, Coroutine
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypeVar

import click
from typing_extensions import override

from kling_relay.cli.connection import json_option
from kling_relay.cli.default_list import ListingGroup
from kling_relay.cli.errors import Failure, plain_errors
from kling_relay.cli.output import Output
from kling_relay.cli.time_arguments import Moment
from kling_relay.cli.usage import GROUPS
from kling_relay.core.budget import LIMIT_NAMES, Limits
from kling_relay.core.money import format_amount, parse_amount

if TYPE_CHECKING:
    from kling_relay.flows.reconcile import Report
    from kling_relay.settings import Settings

Result = TypeVar("Result")


class Amount(click.ParamType[Decimal]):
    """An amount of money."""

    name = "amount"

    @override
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Decimal:
        amount = value if isinstance(value, Decimal) else parse_amount(value)
        if amount is None:
            self.fail(f"{value!r} is not an amount. Examples: 99, 99.5.")
        return amount


@click.group(cls=ListingGroup)
def budgets() -> None:
    """Manage the limits of clients and keys. Needs the settings of the service, not a key."""


@budgets.command("list")
@json_option
def list_(as_json: bool) -> None:
    """List every limit with the amount spent: in total, today, this month, reserved now."""
    with plain_errors(as_json=as_json):
        from kling_relay.app import billing  # noqa: PLC0415 - the whole service, half a second

        accounts = _run(billing.limited_accounts)
    output = Output(as_json)
    if as_json:
        output.document(
            [
                {
                    "client": str(account.client),
                    "key": str(account.key) if account.key else None,
                    "name": account.name,
                    "limits": account.limits.to_json(),
                    "spent": spent.to_json(),
                }
                for account, spent in accounts
            ]
        )
        return
    rows = [
        (
            "key" if account.key else "client",
            account.name,
            *(
                ""
                if (limit := getattr(account.limits, name)) is None
                else f"{format_amount(getattr(spent, name))}/{format_amount(limit)}"
                for name in LIMIT_NAMES
            ),
        )
        for account, spent in accounts
    ]
    output.table(("of", "name", "total", "today", "month", "open"), rows, "There are no limits.")


@budgets.command("set")
@click.argument("name")
@click.option("--total", type=Amount(), help="The limit in total.")
@click.option("--day", type=Amount(), help="The limit per day (UTC).")
@click.option("--month", type=Amount(), help="The limit per month (UTC).")
@click.option("--open", "open_", type=Amount(), help="The limit for amounts reserved at one time.")
@click.option("--of-key", is_flag=True, help="NAME is the name or id of a key, not of a client.")
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
    """Replace all limits of the client NAME. A limit that is not given is removed. Takes effect within 2 s."""
    limits = Limits(total=total, day=day, month=month, open=open_)
    with plain_errors(as_json=as_json):
        from kling_relay.app import billing  # noqa: PLC0415 - as above

        count = _run(lambda settings: billing.set_limits(settings, name, limits, of_key=of_key))
        if not count:
            owner = "key" if of_key else "client"
            raise Failure(f"There is no {owner} {name!r}.", advice="`kling-relay keys list` shows all keys.")
    if as_json:
        Output(as_json).document({"set": count, "limits": limits.to_json()})
    else:
        limits_set = ", ".join(f"{limit} {format_amount(getattr(limits, limit))}" for limit in limits.names)
        click.echo(f"{name}: {limits_set or 'no limit'}")


@click.command()
@click.option("--since", type=Moment(), default="30d", show_default=True, help="Tasks ordered since: 7d, 2026-11-01 …")
@click.option("--until", type=Moment(), help="Tasks ordered until.  [default: now]")
@click.option(
    "--by",
    multiple=True,
    type=click.Choice(GROUPS),
    default=("client", "month"),
    show_default=True,
    help="Group by this. Repeatable.",
)
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
@json_option
def bill(since: datetime, until: datetime | None, by: tuple[str, ...], as_csv: bool, as_json: bool) -> None:
    """Print the usage of every client, from the ledger."""
    with plain_errors(as_json=as_json):
        from kling_relay.app import billing  # noqa: PLC0415 - as above
        from kling_relay.store.money.usage import COLUMNS, to_csv, to_json  # noqa: PLC0415 - as above

        lines = _run(lambda settings: billing.list_usage(settings, by, since, until))
    output = Output(as_json)
    if as_csv:
        click.echo(to_csv(lines, by), nl=False)
    elif as_json:
        output.document([{"by": line.by, **to_json(line)} for line in lines])
    else:
        rows = [
            (*(line.by[name] for name in by), *(to_json(line)[name] for name in COLUMNS), line.currency)
            for line in lines
        ]
        output.table((*by, *COLUMNS, ""), rows, "Nothing was ordered in this period.")


@click.command()
@click.option("--since", type=Moment(), default="7d", show_default=True, help="Tasks ordered since: 7d, 2026-11-01 …")
@click.option("--until", type=Moment(), help="Tasks ordered until.  [default: now]")
@click.option("--ask-all", is_flag=True, help="Poll the provider for every task, even if its charge is known.")
@json_option
def reconcile(since: datetime, until: datetime | None, ask_all: bool, as_json: bool) -> None:
    """Compare the ledger with the provider's figures.

    It lists every difference with its task, and changes nothing. The exit code is 1 if there are differences.
    """
    with plain_errors(as_json=as_json):
        from kling_relay.app import billing  # noqa: PLC0415 - as above

        report = _run(lambda settings: billing.reconcile(settings, since, until, ask_all=ask_all))
    if as_json:
        Output(as_json).document(report.to_json())
    else:
        _print(report)
    if report.differences:
        raise click.exceptions.Exit(1)


def _print(report: "Report") -> None:
    output = Output()
    rows = [
        (it.task, it.client, it.about, it.status, format_amount(it.ours), _or_unknown(it.theirs), it.detail)
        for it in report.differences
    ]
    output.table(("task", "client", "about", "status", "ours", "theirs", "detail"), rows, "No differences.")
    output.note(
        f"{report.tasks} tasks, {report.polled} polled, {report.silent} without an answer,"
        f" {len(report.differences)} differences."
    )
    if isinstance(report.account, str):
        output.note(f"Account: {report.account}.")
    else:
        account = report.account.to_json()
        output.note(
            f"Account: {account['used']} used, {account['ours']} in the ledger, difference {account['difference']}."
        )


def _or_unknown(amount: Decimal | None) -> str:
    return "?" if amount is None else format_amount(amount)


def _run(work: "Callable[[Settings], Coroutine[Any, Any, Result]]") -> Result:
    """Run the coroutine that `work` returns for the settings."""
    from kling_relay import settings  # noqa: PLC0415 - as above
    from kling_relay.app.commands import in_loop  # noqa: PLC0415 - as above

    return in_loop(work(settings.read()))
