"""Groups of commands whose first is `list`: without a command, that is what is meant."""

import click
from typing_extensions import override


class ListingGroup(click.Group):
    """A group that lists where no command is named, with the options of `list`."""

    @override
    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or (args[0].startswith("-") and not set(args) & set(self.get_help_option_names(ctx))):
            args = ["list", *args]
        return super().parse_args(ctx, args)
