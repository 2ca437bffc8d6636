"""Names of the metrics that follow the terms of a distillation loss."""

from keras_espmedsam.errors import InputError


def metric_name(terms, stream, teacher, term):
    """Return the name of a term's metric, with the teacher's if there are several.

    Args:
        terms: dict of stream to dict of teacher to its list of terms.
        stream: `"common"` or `"domain"`.
        teacher: str, its name.
        term: `FeatureLoss` or `MaskLoss`.
    """
    several = stream == "common" and len(terms["common"]) > 1
    return f"common_{teacher}_{term.name}" if several else f"{stream}_{term.name}"


def metric_names(terms, streams, labels):
    """Return the names of the metrics of all terms and labels.

    Args:
        terms: dict of stream to dict of teacher to its list of terms.
        streams: tuple of the streams that a phase trains.
        labels: names of the losses of the labels.

    Returns:
        list of str.

    Raises:
        InputError: for two terms of one name.
    """
    names = [
        metric_name(terms, stream, teacher, term)
        for stream in streams
        for teacher, own in terms[stream].items()
        for term in own
    ]
    names += [f"label_{name}" for name in labels]
    if len(set(names)) < len(names):
        raise InputError(
            f"Received terms of one name: {', '.join(names)}; give each FeatureLoss a name of "
            "its own."
        )
    return names
