"""The type of arguments that name an operation, or a kind of task."""

import json
from importlib.resources import files
from typing import Any

import click
from click.shell_completion import CompletionItem
from typing_extensions import override

from kling_relay.core.operation import SHORT_KINDS
from kling_relay.core.suggestion import did_you_mean


class OperationName(click.ParamType[str]):
    """An operation's path, such as videos/image2video, or a short kind, such as image2video.

    The service knows which operations it has; here only what cannot be a path is refused.
    """

    name = "operation"

    @override
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        name = str(value).strip("/")
        if name not in SHORT_KINDS and "/" not in name:
            self.fail(
                f"{value!r} is not one of {', '.join(SHORT_KINDS)}, and not a path such as videos/image2video"
                f"{did_you_mean(name, SHORT_KINDS)}",
                param,
                ctx,
            )
        return name

    @override
    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return [CompletionItem(name) for name in _known() if name.startswith(incomplete)]


def _known() -> list[str]:
    """Return the short kinds and the operations of the book that is shipped as the default."""
    book = files("kling_relay.provider") / "rulebooks" / "seed.json"
    return [*SHORT_KINDS, *json.loads(book.read_text(encoding="utf-8"))["operations"]]
