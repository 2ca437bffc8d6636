"""The package works with the chosen backend alone; the two others cannot be imported."""

import os
import subprocess
import sys

import keras

SCRIPT = """
import sys

# None in sys.modules is an import that fails and a spec that is not found: not installed.
sys.modules.update(dict.fromkeys({blocked}))
import numpy as np
import keras_espmedsam as kem

for part in kem.__all__[1:]:
    getattr(kem, part)
upsampling = kem.layers.BilinearUpsampling(2)
assert upsampling(np.ones((1, 2, 2, 1), "float32")).shape == (1, 4, 4, 1)
x = np.zeros((1, 40, 50, 3), "uint8")
assert kem.models.ESPMedSAMImageConverter(image_size=(32, 64))(x).shape == (1, 32, 64, 3)
"""


def test_import_and_use_with_one_backend():
    backend = keras.config.backend()
    blocked = {"tensorflow", "jax", "torch"} - {backend}
    script = SCRIPT.format(blocked=blocked)
    environment = {**os.environ, "KERAS_BACKEND": backend}
    result = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr[-2000:]
