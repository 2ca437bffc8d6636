"""Which targets training can change, so that what was fitted for the others stays."""

from keras_espmedsam.errors import warn_of_input


def trained_targets(segmenter):
    """Return the targets whose masks training can change.

    Args:
        segmenter: `ESPMedSAMImageSegmenter`.

    Returns:
        dict of modality to the set of its targets, for those with trainable weights of their own;
        or `None` if weights that all modalities share are trainable: then any target can change.

    Example:
        >>> segmenter = ESPMedSAMImageSegmenter.from_preset("espmedsam_nano_256")
        >>> trained_targets(segmenter) is None
        True
        >>> segmenter.train_only_modality("xray")
        >>> sorted(trained_targets(segmenter)["xray"])
        ['clavicles', 'heart', 'lungs']
    """
    found = {}
    for variable in segmenter.backbone.trainable_variables:
        number = getattr(variable, "modality", None)
        if number is None:
            return None
        modality = segmenter.modalities[number]
        names = segmenter.target_set.of(modality)
        channel = getattr(variable, "target", None)
        # Hidden channels of objects follow the targets, and belong to none.
        found.setdefault(modality, set()).update(
            names if channel is None else names[channel : channel + 1]
        )
    return found


FITTED = {
    "probability_calibration": "calibration",
    "guarantees": "guarantees",
    "quality": "predicted quality",
    "scope": "scope",
}
"""What a segmenter has that is fitted to its weights: its properties, and what they are called."""


def forget_fitted(segmenter, trained=None):
    """Remove what was fitted to weights that change.

    Args:
        segmenter: `ESPMedSAMImageSegmenter`.
        trained: dict of modality to the set of its targets whose masks change; `None` for all.

    Warns:
        InputWarning: once, if there was any.
    """
    fitted = {name: getattr(segmenter, name) for name in FITTED}
    if trained is None:
        kept = {name: {} for name in fitted}
    else:
        kept = {name: _of_others(fitted[name], trained) for name in fitted if name != "scope"}
        # The embedding changes with the weights of a modality, and not with those of a target.
        kept["scope"] = {
            modality: of
            for modality, of in fitted["scope"].items()
            if set(segmenter.target_set.of(modality)) != trained.get(modality, set())
        }
    gone = [f"the {title}" for name, title in FITTED.items() if kept[name] != fitted[name]]
    if not gone:
        return
    segmenter._set_calibration(kept["probability_calibration"], kept["guarantees"])
    segmenter._set_quality(kept["quality"])
    segmenter._set_scope(kept["scope"])
    *others, last = gone
    named = f"{', '.join(others)} and {last}" if others else last
    of = "" if trained is None else f" of {', '.join(trained)}"
    warn_of_input(
        f"The weights change, and what was fitted to them is removed{of}: {named}. Fit it again "
        "when the weights are final."
    )


def _of_others(options, trained):
    return {
        modality: {
            target: one for target, one in of.items() if target not in trained.get(modality, ())
        }
        for modality, of in options.items()
    }
