"""Check that a file of weights fits a model, before it is loaded."""

import pathlib

import h5py
import keras
import numpy as np

from keras_espmedsam.errors import InputError


def check_weights_fit(model, path):
    """Raise if a weights file and the model hold different numbers of integer weights."""
    path = pathlib.Path(path)
    if not path.name.endswith(".weights.h5") or not path.is_file():
        return
    found = []
    with h5py.File(path) as file:
        file.visititems(lambda name, item: found.append(getattr(item, "dtype", None)))
    held = sum(dtype == np.int8 for dtype in found)
    wanted = sum(keras.backend.standardize_dtype(w.dtype) == "int8" for w in model.weights)
    if held != wanted:
        raise InputError(
            f"The file {path} holds {held} quantized weights and this model {wanted}; load the "
            "file into a model that was quantized in the same way as the saved one, or not at all "
            "if that was not."
        )
