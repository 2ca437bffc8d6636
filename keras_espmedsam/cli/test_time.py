"""The options --mirror and --scales of `segment` and `evaluate`."""

import typer

MIRROR_OPTION = typer.Option(
    "--mirror", help="Average with the result for the mirrored image; takes twice as long."
)
"""The option; its value is a bool."""

SCALES_OPTION = typer.Option(
    metavar="NUMBER[,NUMBER...]",
    help="Average the results for the image at several sizes, as factors of the model's image "
    "size, such as 0.75,1,1.25; each takes a pass. Default: 1.",
    show_default=False,
)
"""The option; its value is a str or None."""
