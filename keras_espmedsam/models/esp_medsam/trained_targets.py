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


def forget_targets(segmenter, trained):
    """Remove what was fitted for the present weights, of the targets that training can change.

    Args:
        segmenter: `ESPMedSAMImageSegmenter` that is about to be trained.
        trained: dict of modality to the set of these targets.

    Warns:
        InputWarning: if there was any.
    """

    def kept(options):
        return {
            modality: {
                target: one for target, one in of.items() if target not in trained.get(modality, ())
            }
            for modality, of in options.items()
        }

    before = (
        segmenter.probability_calibration,
        segmenter.guarantees,
        segmenter.quality,
        segmenter.scope,
    )
    # The embedding changes with the weights of a modality, and not with those of a target.
    scope = {
        modality: of
        for modality, of in segmenter.scope.items()
        if set(segmenter.target_set.of(modality)) != trained.get(modality, set())
    }
    calibration, guarantees, quality = map(kept, before[:3])
    if (calibration, guarantees, quality, scope) == before:
        return
    segmenter._set_calibration(calibration, guarantees)
    segmenter._set_quality(quality)
    segmenter._set_scope(scope)
    warn_of_input(
        "The model was calibrated with other weights; its calibration and its guarantees of "
        f"{', '.join(trained)} are removed, and their quality and scope are told no more. "
        "Calibrate it again when its weights are final.",
        stacklevel=4,
    )
