"""What a model takes, on its way to the process that writes."""

import keras
import numpy as np
import pytest

from keras_espmedsam.errors import InputError
from keras_espmedsam.export.input_signature import signature_from_json, signature_to_json


@pytest.mark.parametrize("kind", ["spec", "symbolic", "tensor", "array"])
def test_a_signature_arrives_in_the_other_process(kind):
    made = {
        "spec": lambda: keras.InputSpec(shape=(2, 32, 32, 3), dtype="float32", name="images"),
        "symbolic": lambda: keras.KerasTensor((2, 32, 32, 3), "float32", name="images"),
        "tensor": lambda: keras.ops.zeros((2, 32, 32, 3)),
        "array": lambda: np.zeros((2, 32, 32, 3), "float32"),
    }[kind]()
    (found,) = signature_from_json(signature_to_json([{"images": made}]))
    found = found["images"]
    assert found.shape == ((2 if kind == "spec" else None), 32, 32, 3)
    assert found.dtype == "float32"
    assert found.name == ("images" if kind in ("spec", "symbolic") else None)


def test_a_signature_that_is_none():
    assert signature_from_json(signature_to_json(None)) is None
    with pytest.raises(InputError, match="with a str in it; expected keras"):
        signature_to_json(["images"])
