"""What all commands refuse of their arguments before anything is done."""

from typing import Any

import typer
from typer.core import TyperCommand


class Command(TyperCommand):
    """A command that takes no empty argument.

    A path that is empty is the working folder, and a variable of a shell that is not set makes one
    of every argument: `espmedsam segment "$SCANS"`.

    Source: ours.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Refuse empty arguments, then parse them.

        Args:
            ctx: of the command.
            args: as the shell gave them.

        Source: ours.
        """
        options = {name for param in self.params for name in param.opts if name.startswith("--")}
        for before, argument in zip(["", *args], args, strict=False):
            option = before if not argument else argument.removesuffix("=")
            named = option in options
            if not argument or (named and argument.endswith("=")):
                raise typer.BadParameter(
                    f"Received an empty {f'value for {option}' if named else 'argument'}; perhaps "
                    "a variable of the shell is not set. Give a value, or leave it out.",
                    ctx=ctx,
                )
        return super().parse_args(ctx, args)
