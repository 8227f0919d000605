"""The options that every client command has, and the one way it is run: with a relay, a screen, and no traceback."""

import asyncio
import json
from collections.abc import Callable, Coroutine
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate

import click

from kling_relay.cli.errors import told
from kling_relay.cli.output import Screen

if TYPE_CHECKING:
    from kling_relay.client import Relay

DEMO_FILE = "demo.json"
"""Where `demo` keeps its key, under RELAY_DATA_DIR."""

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def calls_service(
    act: "Callable[Concatenate[Relay, Screen, ...], Coroutine[Any, Any, int | None]]",
) -> Callable[..., None]:
    """Make a command's function of a coroutine that takes a Relay and a Screen first; it may return an exit code."""

    @click.option("--url", envvar="RELAY_URL", show_envvar=True, help="The service.  [default: http://HOST:PORT]")
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
        **given: Any,
    ) -> None:
        if key is None and url is None:
            key = _key_of_demo(Path(data_dir))

        async def work() -> int | None:
            from kling_relay.client import Relay  # noqa: PLC0415 - a third of a second that --help does not wait for

            async with Relay(url or _address(host, port), key) as relay:
                return await act(relay, Screen(as_json), **given)

        with told(as_json=as_json):
            code = asyncio.run(work())
        if code:
            raise click.exceptions.Exit(code)

    return command


def _address(host: str, port: str) -> str:
    """Return where a service with these settings is reached from the same machine."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - a key, not a bind
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _key_of_demo(directory: Path) -> str | None:
    try:
        found = json.loads((directory / DEMO_FILE).read_text("utf-8")).get("key")
    except (OSError, ValueError):
        return None
    return found if isinstance(found, str) else None
