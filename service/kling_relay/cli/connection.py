"""The options of every command that calls a service, and how such a command runs."""

import asyncio
import json
from collections.abc import Callable, Coroutine
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate

import click

from kling_relay.cli.address import HttpAddress
from kling_relay.cli.errors import plain_errors
from kling_relay.cli.output import Output

if TYPE_CHECKING:
    from kling_relay.client import Relay

DEMO_FILE = "demo.json"
"""Where `demo` stores its key, in RELAY_DATA_DIR."""

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def calls_service(
    act: "Callable[Concatenate[Relay, Output, ...], Coroutine[Any, Any, int | None]]",
) -> Callable[..., None]:
    """Make a command's function from a coroutine function whose first arguments are a Relay and an Output.

    The coroutine may return an exit code.
    """

    @click.option(
        "--url",
        type=HttpAddress(),
        envvar="RELAY_URL",
        show_envvar=True,
        help="The service.  [default: http://HOST:PORT]",
    )
    @click.option("--key", envvar="RELAY_KEY", show_envvar=True, help="A client key.  [default: the demo's, if any]")
    @click.option("--host", envvar="RELAY_HOST", default="127.0.0.1", hidden=True)
    @click.option("--port", envvar="RELAY_PORT", default="8080", hidden=True)
    @click.option("--data-dir", envvar="RELAY_DATA_DIR", default=".relay", hidden=True)
    @json_option
    @wraps(act)
    def command(
        *,
        url: str | None,
        key: str | None,
        host: str,
        port: str,
        data_dir: str,
        as_json: bool,
        **arguments: Any,
    ) -> None:
        if key is None and url is None:
            key = _demo_key(Path(data_dir))

        async def work() -> int | None:
            from kling_relay.client import Relay  # noqa: PLC0415 - a third of a second that --help does not wait for
            from kling_relay.core.address import local_url  # noqa: PLC0415 - as above

            async with Relay(url or local_url(host, port), key) as relay:
                return await act(relay, Output(as_json), **arguments)

        with plain_errors(as_json=as_json):
            code = asyncio.run(work())
        if code:
            raise click.exceptions.Exit(code)

    return command


def _demo_key(directory: Path) -> str | None:
    try:
        key = json.loads((directory / DEMO_FILE).read_text("utf-8")).get("key")
    except (OSError, ValueError):
        return None
    return key if isinstance(key, str) else None
