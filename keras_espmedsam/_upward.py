"""What lower parts of the package ask of higher ones: all such calls go by name, through here.

Imports run down (`inference` knows no model, `models` know no export), so that a part can be used,
tested and understood without those above it. Where a name that a user gave stands for something
above, such as a preset's for a model, that is imported when it is needed.
"""

import importlib
from typing import Any

_PLACES = {
    "ESPMedSAMImageSegmenter": "keras_espmedsam.models",
    "TiCImageClassifier": "keras_espmedsam.models",
    "ExportedSegmenter": "keras_espmedsam.export",
    "export_like_keras": "keras_espmedsam.export",
    "export_model": "keras_espmedsam.export",
    "format_of": "keras_espmedsam.export.formats",
}


def upward(name: str) -> Any:
    """A class or function of a part that lies above the caller's.

    Args:
        name: one of those listed in this file.

    Example:
        >>> upward("TiCImageClassifier") is kem.models.TiCImageClassifier
        True

    Source: ours.
    """
    return getattr(importlib.import_module(_PLACES[name]), name)
