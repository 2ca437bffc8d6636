"""PyTorch runs a model for inference as one recorded program, without Keras' work for each layer.

Keras decides anew in every layer and operation what is called with which dtype and shape: for a
small image that takes most of the time. JAX and TensorFlow pay for it once, when they trace; here
PyTorch's own operations are recorded once for each shape and then repeated as they are.

That takes as long as five images of `espmedsam_nano_256` do without it. `torch.export` takes as
long as 74, `make_fx` as 29, and `torch.compile` minutes; `torch.jit.trace` fails where a layer asks
for sizes. All of them keep a weight that was exchanged since.
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
# A repetition differs from the model by nothing, but on GPUs that add in any order.
TOLERANCE = 1e-5


class CapturedInference:
    """Runs a model; from the third time on that it sees a shape it repeats what was done.

    The first time of a shape the model is run as ever, since most programs see one image. The
    second time its operations are recorded as they run. The third time, and as long as the inputs
    were no others, it is run in both ways, and what does not give the same is never repeated.
    Weights are used by reference; where one was exchanged, or a layer or an attribute of one, or
    what its lists, dicts and arrays hold, all is recorded anew. A layer that changes its own in
    each call is called each time. Of anything else that Python does in a layer, such as printing or
    reading a global, a repetition knows nothing: `compile(run_eagerly=True)`.

    Args:
        max_shapes: int. Shapes that are kept; of more, those not seen for longest are forgotten.

    Example:
        >>> captured = CapturedInference(max_shapes=4)
        >>> captured.max_shapes
        4

    Source: ours.
    """

    def __init__(self, max_shapes=MAX_SHAPES):
        self.max_shapes = max_shapes
        self._state = None
        self._shapes = collections.OrderedDict()
        self._lock = threading.RLock()

    def __call__(self, model, inputs):
        """`model(inputs, training=False)`.

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
        """What is known of the inputs' shape, of this model as it is now."""
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
    """What is known of the inputs of one shape that was seen before.

    Args:
        is_open: bool. Whether a program may still come of it.
    """

    def __init__(self, is_open=True):
        self.is_open = is_open
        self.is_proven = False  # Whether the program is repeated for all inputs.
        self.program = None
        self.recorded = None  # Inputs that the program was recorded with.
        self.agrees = False  # Whether it gave the same for these at least.

    def approach(self, model, inputs, leaves, state):
        """The model's outputs, and one step on the way to a program that can be trusted."""
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
        self.agrees = _gives(self.program, leaves, outputs)
        self.is_proven = self.agrees and differs
        self.is_open = self.agrees and not differs
        if not self.is_open:
            self.recorded = None
        if not self.agrees:
            self.program = None
        return outputs


_CALLED = _Shape(is_open=False)  # The model is called.


def _tensors(inputs):
    """The inputs as a list of tensors on Keras' device; `None` where nothing is repeated."""
    if torch.is_grad_enabled() or torch.is_inference_mode_enabled():
        return None  # Someone differentiates, or has a mode of their own.
    leaves = keras.tree.flatten(inputs)
    for leaf in leaves:
        is_array = isinstance(leaf, np.ndarray) and leaf.dtype.kind in "biuf"
        if not is_array and not isinstance(leaf, torch.Tensor):
            return None  # Keras converts, or refuses, what else there is.
    return list(map(keras.ops.convert_to_tensor, leaves))


def _is_plain(tensor):
    """Whether it is a tensor with values, of no class of someone's own, and is used as it is."""
    return (
        type(tensor) is torch.Tensor
        and not tensor.is_meta
        and not torch.is_autocast_enabled(tensor.device.type)
    )


def _gives(program, leaves, outputs):
    """Whether a program gives what the model gave."""
    try:
        repeated = program(leaves)
    except Exception:  # Whatever it is, the model did without.
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
    """What a program rests on besides its inputs: where the weights are, and how layers are set."""

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
        # Of all modules, by `torch.nn.modules.module.register_module_forward_hook`.
        for name in ("_global_forward_hooks", "_global_forward_pre_hooks"):
            self.hooks.append(getattr(torch.nn.modules.module, name, {}))

    def is_still(self, model):
        """Whether all of it is as it was."""
        return (
            _are_same(self.variables, model.variables)
            and _are_same(self.values, (variable.value for variable in self.variables))
            # `tensor.data = other` and `module.to(...)` keep the object and exchange its memory.
            and self.places == list(map(_place, self.values))
            and all(_are_same(values, listed(holder)) for holder, listed, values in self.held)
            and all(np.array_equal(array, copy) for array, copy in self.arrays)
        )

    def must_call(self):
        """Whether layers have to be called.

        Someone listens to them, with torch's `register_forward_hook`; or they hold modules of
        torch, whose parts can be exchanged where Keras does not see it.
        """
        return self.holds_modules or any(self.hooks)

    def _look_into(self, layer, is_root):
        """Note what a layer's attributes are, and what those of its author's own hold."""
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
        """Note what a list, a dict or the like holds: it may be exchanged in there."""
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


# What a run of `fit`, `evaluate` or `predict` sets in the model itself.
_OF_A_RUN = {
    *("history", "optimizer", "stop_training", "stop_evaluating", "stop_predicting"),
    *("_captured_inference", "_makes_metrics", "_ready_validation_data", "_traced_weights"),
}
_OF_PARAMETERS = torch.nn.ParameterDict | torch.nn.ParameterList


@functools.cache
def _keras_attributes():
    """Names of the attributes that layers and models have of Keras; all others are of authors."""
    # With names, which are not counted.
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
