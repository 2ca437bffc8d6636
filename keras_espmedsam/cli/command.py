"""The check of the arguments that all commands share."""

from typing import Any

import typer
from typer.core import TyperCommand


class Command(TyperCommand):
    """A command that rejects empty arguments.

    An unset shell variable gives an empty argument, `espmedsam segment "$SCANS"`, and an empty
    path means the working folder.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Reject empty arguments, then parse the rest.

        Args:
            ctx: the command's context.
            args: the arguments from the shell.
        """
        options = {name for param in self.params for name in param.opts if name.startswith("--")}
        for before, argument in zip(["", *args], args, strict=False):
            option = before if not argument else argument.removesuffix("=")
            named = option in options
            if not argument or (named and argument.endswith("=")):
                raise typer.BadParameter(
                    f"Received an empty {f'value for {option}' if named else 'argument'}; perhaps "
                    "a shell variable is not set. Give a value, or leave it out.",
                    ctx=ctx,
                )
        return super().parse_args(ctx, args)
