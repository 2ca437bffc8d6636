"""A segmenter that a server offers under a name."""

import dataclasses
import re
from collections.abc import Iterable
from typing import Any

from keras_espmedsam._shown import shown_value
from keras_espmedsam.data.targets import Targets
from keras_espmedsam.errors import InputError
from keras_espmedsam.inference.chosen_targets import target_set_of
from keras_espmedsam.inference.recognition import check_classes

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]{0,99}")


@dataclasses.dataclass(frozen=True)
class ServedModel:
    """A segmenter that a server offers under a name.

    Args:
        name: letters, digits, `_`, `.`, `@` and `-`; it is part of addresses.
        segmenter: an `ESPMedSAMImageSegmenter`, an `ExportedSegmenter`, or an object with their
            `segment` and `modalities`.
        recognizer: the `TiCImageClassifier` that recognises the modality of images that come
            without one; None if the segmenter has a single modality, or clients shall always name
            it.
        source: the preset or the path that the segmenter was loaded from, whose name and checksum
            are told in DICOM objects; None offers no such objects.

    Raises:
        InputError: for a name or a segmenter that cannot be used, or a recogniser that knows none
            of its modalities.

    Example:
        >>> segmenter = kem.models.ESPMedSAMImageSegmenter.from_preset("espmedsam_nano_256")
        >>> ServedModel("nano", segmenter).targets["fundus"][0]
        'vessels'
    """

    name: str
    segmenter: Any = dataclasses.field(repr=False)
    recognizer: Any = dataclasses.field(default=None, repr=False)
    source: str | None = None

    def __post_init__(self):
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            raise InputError(
                f"Received the name {shown_value(self.name)} for a model; expected up to 100 "
                "letters, digits, '_', '.', '@' and '-', because it is part of addresses."
            )
        if not hasattr(self.segmenter, "segment") or not hasattr(self.segmenter, "modalities"):
            raise InputError(
                f"Received a {type(self.segmenter).__name__} as the segmenter {self.name}; "
                "expected an ESPMedSAMImageSegmenter or an ExportedSegmenter. Load it with "
                "keras_espmedsam.inference.load_models.load_segmenter."
            )
        if self.recognizer is not None:
            check_classes(self.recognizer.class_names, self.modalities)

    @property
    def modalities(self) -> tuple[str, ...]:
        """Names of the modalities."""
        return tuple(self.segmenter.modalities)

    @property
    def target_set(self) -> Targets:
        """The targets of all modalities."""
        return target_set_of(self.segmenter)

    @property
    def targets(self) -> dict[str, tuple[str, ...]]:
        """dict of modality to the names of its targets."""
        return {name: self.target_set.of(name) for name in self.modalities}


def by_name(models: Iterable[ServedModel]) -> dict[str, ServedModel]:
    """Return models by their names.

    Raises:
        InputError: when there is none, or two have the same name.

    Example:
        >>> by_name([])
        Traceback (most recent call last):
        keras_espmedsam.errors.InputError: Received no model to serve; give at least one.
    """
    found: dict[str, ServedModel] = {}
    for one in models:
        if one.name in found:
            raise InputError(
                f"Received two models of the name {one.name}; give one of them another name: "
                "NAME=MODEL on the command line."
            )
        found[one.name] = one
    if not found:
        raise InputError("Received no model to serve; give at least one.")
    return found
