"""Which targets training can change, so that what was fitted for the others stays."""


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
