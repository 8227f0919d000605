"""Addresses on the command line: HTTP, with or without its scheme."""

from typing import Any
from urllib.parse import urlsplit

import click
from typing_extensions import override


class HttpAddress(click.ParamType[str]):
    """An http(s) address. Without a scheme, as in `localhost:3000/hook`, it is http."""

    name = "URL"

    @override
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        address = value if "://" in value else f"http://{value}"
        try:
            parts = urlsplit(address)
            is_valid = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
        except ValueError:
            is_valid = False
        if not is_valid or any(letter.isspace() for letter in address):
            self.fail(f"{value!r} is not an address such as http://localhost:3000/hook.", param, ctx)
        return address
