"""One training step on each backend: the only part of distillation that differs between them.

Each module has `Steps`, a mixin for `keras.Model` with `train_step` and `test_step`. The gradient
of each stream's loss is taken only with respect to that stream's own variables, which Keras' own
`train_step`, with its single loss, cannot do.
"""

import importlib

import keras

Steps = importlib.import_module(f"{__name__}.{keras.backend.backend()}_steps").Steps
