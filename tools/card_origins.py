"""What the weights of a run began from, for the card and the files of the preset made of it."""

from keras_espmedsam.hub.origins import origins_section, read_origins


def published_origins(run):
    """The origins of a run's preset that others published.

    Earlier runs of the same recipe are origins too, but nobody's terms.

    Args:
        run: path of the run's folder.

    Returns:
        list of `Origin`.
    """
    return [one for one in read_origins(run / "preset") if one.licence or one.source]


def with_origins(card, run):
    """A card with the section of what its weights began from, if they did.

    Args:
        card: str.
        run: path of the run's folder.
    """
    origins = published_origins(run)
    return f"{card.rstrip()}\n\n{origins_section(origins)}\n" if origins else card
