"""Importing optional libraries, with an error that says what to install."""

import importlib
from types import ModuleType

from keras_espmedsam.errors import InputError


def require(module: str, purpose: str, extra: str = "medical") -> ModuleType:
    """Import an optional library when it is first needed.

    Args:
        module: the module to import, such as `"pydicom"`.
        purpose: what needs it, as the beginning of a sentence: `"Reading DICOM files"`.
        extra: the extra of this package that installs it.

    Returns:
        The module.

    Raises:
        InputError: when it is not installed.

    Example:
        >>> require("json", "Reading JSON").loads("1")
        1

    Source: ours.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise InputError(
            f"{purpose} needs {module}, which is not installed; install it with: "
            f'pip install "keras-espmedsam[{extra}]"'
        ) from error
