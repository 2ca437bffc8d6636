"""What `espmedsam dicomweb` and `espmedsam watch` have in common."""

from collections.abc import Sequence
from typing import Any

from keras_espmedsam.archive import FileSegmenter
from keras_espmedsam.cli.loading import load_recognizer, load_segmenter
from keras_espmedsam.cli.thresholds import GivenThresholds
from keras_espmedsam.inference import DicomOptions, model_identity
from keras_espmedsam.inference.chosen_targets import checked_targets, target_set_of
from keras_espmedsam.inference.load_models import check_name
from keras_espmedsam.inference.modalities import modality_indices
from keras_espmedsam.inference.recognition import AUTO


def file_segmenter(
    preset: str,
    recognizer: str,
    modality: str | None,
    targets: Sequence[str] | None,
    threshold: Sequence[str] | None,
    objects: bool,
    report: bool,
    probabilities: bool,
) -> FileSegmenter:
    """Load the models of a command.

    Args:
        preset: the preset or exported model.
        recognizer: the preset that recognises the modality where it is needed.
        modality: the modality, or None.
        targets: only these; None or empty for all.
        threshold: what was given as `--threshold`.
        objects, report, probabilities: which DICOM objects are written.

    Raises:
        InputError: for names and thresholds that do not fit the model.
    """
    check_name(preset)
    thresholds = GivenThresholds(list(threshold) if threshold else None)
    dicom = None
    if objects or report or probabilities:
        given = {"threshold": sorted(threshold)} if threshold else {}
        dicom = DicomOptions(model_identity(preset, given), report, probabilities)
    segmenter: Any = load_segmenter(preset)
    known = target_set_of(segmenter)
    wanted = checked_targets(list(targets) if targets else None, known)
    named = modality not in (None, AUTO)
    if named:
        modality_indices(known.modalities, modality, 1)
    classifier = None if named or len(known.modalities) == 1 else load_recognizer(recognizer)
    options = {"threshold": thresholds.of(known), "targets": wanted}
    return FileSegmenter(segmenter, classifier, modality if named else None, dicom, options)
