"""Run a model for inference on PyTorch as a recorded program, without Keras' overhead per layer.

Keras decides again in every layer and operation what to call with which dtype and shape; for a
small image that takes most of the time. JAX and TensorFlow pay for it once, when they trace. Here
PyTorch's operations are recorded once for each shape and then replayed.

Recording takes as long as five images of `espmedsam_nano_256` do without it. `torch.export` takes
as long as 74, `make_fx` as 29, and `torch.compile` minutes; `torch.jit.trace` fails if a layer asks
for sizes. All of these keep using a weight after it was replaced.
"""

import collections
import dataclasses
import functools
import operator
import threading
import types

import keras
import numpy as np
import torch

from keras_espmedsam.models.model_layers import model_layers
from keras_espmedsam.models.torch_recording import record

MAX_SHAPES = 8
# A replay gives exactly the model's outputs, except on GPUs, where the order of additions varies.
TOLERANCE = 1e-5


class CapturedInference:
    """Runs a model; from the third call with a shape, it replays recorded operations.

    The first call with a shape runs the model as usual, since most programs see one image. The
    second records its operations as they run. The third, and any further call until the inputs
    differ, runs the model both ways; a recording that gives other outputs is never replayed.
    Weights are used by reference. If a weight, a layer, an attribute of a layer, or the contents of
    its lists, dicts and arrays was replaced, everything is recorded again. A layer that changes its
    own attributes in each call is always called. A replay does not run any other Python code in a
    layer, such as printing or reading a global: use `compile(run_eagerly=True)` for that.

    Args:
        max_shapes: int. Number of shapes to keep; beyond it the least recently seen are dropped.

    Example:
        >>> captured = CapturedInference(max_shapes=4)
        >>> captured.max_shapes
        4
    """

    def __init__(self, max_shapes=MAX_SHAPES):
        self.max_shapes = max_shapes
        self._state = None
        self._shapes = collections.OrderedDict()
        self._lock = threading.RLock()

    def __call__(self, model, inputs):
        """Return `model(inputs, training=False)`.

        Args:
            model: `keras.Model`, the same in every call.
            inputs: an array or tensor, or a structure of them.

        Returns:
            The model's outputs.
        """
        leaves = _tensors(inputs)
        if leaves is None:
            return model(inputs, training=False)
        inputs = keras.tree.pack_sequence_as(inputs, leaves)
        if not all(map(_is_plain, leaves)):
            return model(inputs, training=False)
        with self._lock:
            shape = self._shape(model, inputs, leaves)
            if shape.is_open:
                return shape.approach(model, inputs, leaves, self._state)
        return shape.program(leaves) if shape.is_proven else model(inputs, training=False)

    def _shape(self, model, inputs, leaves):
        """Return what is known about the inputs' shape for the model as it is now."""
        if self._state is not None and not self._state.is_still(model):
            self._state = None
            self._shapes.clear()
        key = (
            str(keras.tree.map_structure(lambda _: 0, inputs)),
            *((leaf.shape, leaf.stride(), leaf.dtype, leaf.device) for leaf in leaves),
        )
        shape = self._shapes.pop(key, None)
        is_new = shape is None
        self._shapes[key] = shape = _Shape() if is_new else shape
        while len(self._shapes) > self.max_shapes:
            self._shapes.popitem(last=False)
        if is_new:
            return _CALLED
        self._state = self._state or _State(model)
        return _CALLED if self._state.must_call() else shape


class _Shape:
    """What is known about a shape of inputs that was seen before.

    Args:
        is_open: bool. Whether a program may still be recorded or proven.
    """

    def __init__(self, is_open=True):
        self.is_open = is_open
        self.is_proven = False  # Whether the program is replayed for all inputs.
        self.program = None
        self.recorded = None  # Inputs that the program was recorded with.
        self.agrees = False  # Whether it gave the model's outputs at least for these.

    def approach(self, model, inputs, leaves, state):
        """Return the model's outputs, taking one step towards a program that can be trusted."""
        if self.program is None:
            self.recorded = [leaf.clone() for leaf in leaves]
            outputs, self.program = record(
                lambda leaves: model(keras.tree.pack_sequence_as(inputs, leaves), training=False),
                leaves,
                state.values,
            )
            self.is_open = self.program is not None
            return outputs
        differs = not all(map(torch.equal, leaves, self.recorded))
        if self.agrees and not differs:
            return self.program(leaves)
        outputs = model(inputs, training=False)
        self.agrees = _matches(self.program, leaves, outputs)
        self.is_proven = self.agrees and differs
        self.is_open = self.agrees and not differs
        if not self.is_open:
            self.recorded = None
        if not self.agrees:
            self.program = None
        return outputs


_CALLED = _Shape(is_open=False)  # The model is always called.


def _tensors(inputs):
    """Return the inputs as tensors on Keras' device; `None` if nothing may be replayed."""
    if torch.is_grad_enabled() or torch.is_inference_mode_enabled():
        return None  # Gradients are computed, or another torch mode is active.
    leaves = keras.tree.flatten(inputs)
    for leaf in leaves:
        is_array = isinstance(leaf, np.ndarray) and leaf.dtype.kind in "biuf"
        if not is_array and not isinstance(leaf, torch.Tensor):
            return None  # Keras converts or rejects anything else.
    return list(map(keras.ops.convert_to_tensor, leaves))


def _is_plain(tensor):
    """Whether it is a plain tensor with values, of no subclass, that is used unchanged."""
    return (
        type(tensor) is torch.Tensor
        and not tensor.is_meta
        and not torch.is_autocast_enabled(tensor.device.type)
    )


def _matches(program, leaves, outputs):
    """Whether a program gives the model's outputs."""
    try:
        repeated = program(leaves)
    except Exception:  # Whatever it is, the model itself ran without it.
        return False
    pairs = zip(keras.tree.flatten(outputs), keras.tree.flatten(repeated), strict=True)
    return all(
        torch.is_tensor(one)
        and one.shape == other.shape
        and one.dtype == other.dtype
        and torch.allclose(one, other, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True)
        for one, other in pairs
    )


class _State:
    """What a program depends on besides its inputs: memory of weights, settings of layers."""

    def __init__(self, model):
        self.variables = model.variables
        self.values = [variable.value for variable in self.variables]
        self.places = list(map(_place, self.values))
        layers = model_layers(model)
        self.held, self.arrays, self.holds_modules = [], [], False
        for layer in layers:
            self._look_into(layer, is_root=layer is model)
        self.hooks = [
            hooks
            for layer in layers
            for hooks in (vars(layer)["_forward_hooks"], vars(layer)["_forward_pre_hooks"])
        ]
        # Hooks of all modules, by `torch.nn.modules.module.register_module_forward_hook`.
        for name in ("_global_forward_hooks", "_global_forward_pre_hooks"):
            self.hooks.append(getattr(torch.nn.modules.module, name, {}))

    def is_still(self, model):
        """Whether nothing has changed."""
        return (
            _are_same(self.variables, model.variables)
            and _are_same(self.values, (variable.value for variable in self.variables))
            # `tensor.data = other` and `module.to(...)` keep the object but replace its memory.
            and self.places == list(map(_place, self.values))
            and all(_are_same(values, listed(holder)) for holder, listed, values in self.held)
            and all(np.array_equal(array, copy) for array, copy in self.arrays)
        )

    def must_call(self):
        """Whether layers have to be called.

        True if torch's `register_forward_hook` listens to them, or if they hold torch modules,
        whose parts can be replaced without Keras noticing.
        """
        return self.holds_modules or any(self.hooks)

    def _look_into(self, layer, is_root):
        """Record a layer's attributes, and the contents of those that its author defined."""
        attributes, keras_own = vars(layer), _keras_attributes()
        if is_root:
            # Keras sets its own attributes of a model in every call of `predict` or `fit`.
            def listed(values):
                return [
                    value
                    for name, value in values.items()
                    if name not in keras_own and name not in _OF_A_RUN
                ]
        else:
            listed = dict.values
        self.held.append((attributes, listed, tuple(listed(attributes))))
        self.holds_modules |= isinstance(layer, keras.layers.TorchModuleWrapper)
        for name, value in attributes.items():
            if name not in keras_own and name not in _OF_A_RUN:
                self._look_at(value, set())

    def _look_at(self, value, seen):
        """Record the contents of a list, dict or similar, which may be replaced in place."""
        if isinstance(value, np.ndarray):
            self.arrays.append((value, value.copy()))
        elif isinstance(value, torch.nn.Module):
            self.holds_modules |= not isinstance(value, keras.layers.Layer | _OF_PARAMETERS)
        elif isinstance(value, dict):
            self._look_through(value, _keys_and_values, seen)
        elif isinstance(value, list | tuple | set | collections.deque):
            self._look_through(value, tuple, seen)
        elif isinstance(value, types.SimpleNamespace) or (
            dataclasses.is_dataclass(value) and hasattr(value, "__dict__")
        ):
            self._look_through(vars(value), _keys_and_values, seen)

    def _look_through(self, holder, listed, seen):
        if id(holder) in seen:
            return
        seen.add(id(holder))
        values = tuple(listed(holder))
        if not isinstance(holder, tuple):
            self.held.append((holder, listed, values))
        for value in values:
            self._look_at(value, seen)


# Attributes that `fit`, `evaluate` and `predict` set on the model itself.
_OF_A_RUN = {
    *("history", "optimizer", "stop_training", "stop_evaluating", "stop_predicting"),
    *("_captured_inference", "_makes_metrics", "_ready_validation_data", "_traced_weights"),
}
_OF_PARAMETERS = torch.nn.ParameterDict | torch.nn.ParameterList


@functools.cache
def _keras_attributes():
    """Names of the attributes that Keras defines on layers and models; others are the authors'."""
    # With explicit names, so that Keras' name counters do not change.
    x = keras.Input((1,), name="x")
    model = keras.Model(x, keras.layers.Identity(name="same")(x), name="model")
    sequential = keras.Sequential([keras.layers.Identity(name="one")], name="sequential")
    for one in (model, sequential):
        one.compile(optimizer=keras.optimizers.SGD(name="sgd"))
    return {name for one in (model, sequential, model.layers[-1]) for name in vars(one)}


def _place(value):
    return value.data_ptr(), value.stride()


def _keys_and_values(values):
    return *values, *values.values()


def _are_same(one, other):
    other = list(other)
    return len(one) == len(other) and all(map(operator.is_, one, other))
