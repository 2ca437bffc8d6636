"""How one step is taken on each backend: the only part of distillation that differs.

Each module has `Steps`, a mixin of `keras.Model` with `train_step` and `test_step`. The gradient of
each stream's loss is taken by that stream's own variables alone, which Keras' own `train_step`,
with its one loss, cannot do.
"""

import importlib

import keras

Steps = importlib.import_module(f"{__name__}.{keras.backend.backend()}_steps").Steps
