"""Groups of commands whose first is `list`: without a command, that is what is meant."""

import click
from click.shell_completion import CompletionItem
from typing_extensions import override


class ListingGroup(click.Group):
    """A group that lists where no command is named, with the options of `list`."""

    @override
    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if ctx.resilient_parsing:  # a shell completes: nobody has meant anything yet
            return super().parse_args(ctx, args)
        if not args or (args[0].startswith("-") and not set(args) & set(self.get_help_option_names(ctx))):
            args = ["list", *args]
        return super().parse_args(ctx, args)

    @override
    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        found = super().shell_complete(ctx, incomplete)
        listing = self.get_command(ctx, "list")
        if listing is None or not incomplete.startswith("-"):
            return found
        seen = {item.value for item in found}
        with click.Context(listing, parent=ctx, info_name="list", resilient_parsing=True) as inside:
            return found + [each for each in listing.shell_complete(inside, incomplete) if each.value not in seen]
