"""Access from lower parts of the package to higher ones, by name and only through here.

Imports run downwards (`inference` does not import models, `models` does not import export), so that
a part can be used, tested and understood without those above it. If a name given by the user stands
for something above, such as a preset for a model, that is imported when it is needed.
"""

import importlib
from typing import Any

_PLACES = {
    "ESPMedSAMImageSegmenter": "keras_espmedsam.models",
    "TiCImageClassifier": "keras_espmedsam.models",
    "ExportedSegmenter": "keras_espmedsam.export",
    "calibrate_targets": "keras_espmedsam.evaluation",
    "export_like_keras": "keras_espmedsam.export",
    "export_model": "keras_espmedsam.export",
    "fit_quality": "keras_espmedsam.evaluation",
    "fit_scope": "keras_espmedsam.evaluation",
    "fit_scope_threshold": "keras_espmedsam.evaluation",
    "format_of": "keras_espmedsam.export.formats",
}


def upward(name: str) -> Any:
    """Import a class or function from a part above the caller's.

    Args:
        name: one of the names listed in this file.

    Example:
        >>> upward("TiCImageClassifier") is kem.models.TiCImageClassifier
        True
    """
    return getattr(importlib.import_module(_PLACES[name]), name)
