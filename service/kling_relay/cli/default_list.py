"""A click group that runs `list` if no command is named."""

import click
from click.shell_completion import CompletionItem
from typing_extensions import override


class ListingGroup(click.Group):
    """A group that runs `list`, with its options, if no command is named."""

    @override
    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if ctx.resilient_parsing:  # during shell completion, a command may still follow
            return super().parse_args(ctx, args)
        if not args or (args[0].startswith("-") and not set(args) & set(self.get_help_option_names(ctx))):
            args = ["list", *args]
        return super().parse_args(ctx, args)

    @override
    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        items = super().shell_complete(ctx, incomplete)
        listing = self.get_command(ctx, "list")
        if listing is None or not incomplete.startswith("-"):
            return items
        offered_values = {item.value for item in items}
        with click.Context(listing, parent=ctx, info_name="list", resilient_parsing=True) as inner:
            return items + [
                item for item in listing.shell_complete(inner, incomplete) if item.value not in offered_values
            ]
