"""Models that keep the precision of their quantised layers when they are saved and loaded.

Keras' `quantize` exchanges the weights of dense layers. What it did must be in a model's
configuration, or the model that is built of that has other weights than the file. Layers that hold
dense layers have no place for it (Keras' issue 21378), so it is written down once per model: which
layers, by their paths, and how. A model is built as ever, its layers are quantised the same way,
and the file's weights take their place.
"""

import contextlib
import gc
import pathlib
import re

import h5py
import keras
import numpy as np

from keras_espmedsam.errors import InputError
from keras_espmedsam.models.lora import begin_adapters_anew, refuse_adapters
from keras_espmedsam.models.model_layers import model_layers

KEY = "quantization"
"""The key of a configuration; only a quantised model has it."""
MODES = ("int8", "int4")


def keeps_quantization(decorated):
    """Class decorator: `quantize`, and what it did in `get_config` and `from_config`.

    Args:
        decorated: class of a functional `keras.Model` with a configuration of its own.

    Example:
        >>> backbone = TiCBackbone(
        ...     hidden_dims=(8, 8), depths=(1, 1), num_heads=(1, 1), kernel_size=3)
        >>> backbone.quantize("int8")
        >>> twin = TiCBackbone.from_config(backbone.get_config())
        >>> len(quantized_layers(twin))
        6

    Source: ours.
    """
    own_get_config = decorated.get_config
    own_from_config = decorated.from_config.__func__

    def quantize(self, mode=None, config=None, filters=None, **kwargs):
        """Hold and multiply the weights of dense layers as integers; this changes the model.

        Convolutions stay as they are. What is saved (`save`, `save_to_preset`, `save_weights`)
        loads and gives the same. An optimiser that has taken steps begins anew. For other
        runtimes `export_for(..., precision="int8")` quantises convolutions too.

        Args:
            mode: `"int8"` or `"int4"`; not needed with a `config`.
            config: `keras.quantizers.Int8QuantizationConfig` or `Int4QuantizationConfig`.
            filters: which layers: a regular expression that their names contain, a list of them,
                or a function of the layer; `None` is all dense ones.
            **kwargs: handed to Keras.

        Raises:
            InputError: for another mode, a model that is quantised already, or filters that fit
                no layer; before anything is changed.

        Example:
            >>> classifier = TiCImageClassifier(
            ...     TiCBackbone(hidden_dims=(8, 8), depths=(1, 1), num_heads=(1, 1), kernel_size=3),
            ...     class_names=("fundus", "xray"))
            >>> classifier.quantize("int8", filters="dense")
            >>> classifier.output_dense.quantization_mode is None
            True

        Source: Keras' `quantize`; that it can be loaded is ours.
        """
        layers = _checked(self, mode, filters)
        optimizer = _begun_anew(self)
        chosen = {id(layer) for layer in layers}
        with _quick_collection():
            keras.Model.quantize(
                self, mode, config=config, filters=lambda layer: id(layer) in chosen, **kwargs
            )
        if optimizer is not None:
            self.optimizer = optimizer

    def get_config(self):
        # keras-hub's own record, a DTypePolicyMap, changes the policies that it is made of.
        with _policies_kept(self):
            config = own_get_config(self)
        if "dtype" in config and quantized_layers(self):
            config["dtype"] = keras.dtype_policies.serialize(self.dtype_policy)
        record = _record(self)
        return {**config, KEY: record} if record else config

    @classmethod
    def from_config(cls, config):
        config = dict(config)
        record = config.pop(KEY, [])
        model = own_from_config(cls, config)
        for entry in record:
            _quantize_as(model, _as_written(entry["config"]), set(entry["layers"]))
        return model

    def load_weights(self, filepath, skip_mismatch=False, **kwargs):
        """As Keras'; a file of a model that was quantised otherwise is told before it is read.

        Args:
            filepath: str or path.
            skip_mismatch: bool. Leave out what does not fit.
            **kwargs: handed to Keras.

        Raises:
            InputError: when the file or the model is quantised and the other is not, or otherwise.

        Example:
            >>> import tempfile
            >>> backbone = TiCBackbone(
            ...     hidden_dims=(8, 8), depths=(1, 1), num_heads=(1, 1), kernel_size=3)
            >>> path = tempfile.mkdtemp() + "/model.weights.h5"
            >>> backbone.save_weights(path)
            >>> backbone.load_weights(path)

        Source: Keras' `load_weights`; the check is ours.
        """
        if not skip_mismatch:
            _check_integers(self, filepath)
        super(decorated, self).load_weights(filepath, skip_mismatch=skip_mismatch, **kwargs)
        begin_adapters_anew(self)

    decorated.quantize = quantize
    decorated.load_weights = load_weights
    decorated.get_config = get_config
    decorated.from_config = from_config
    decorated.keeps_quantization = True
    return decorated


def quantized_layers(model):
    """The layers of a model, at any depth, that are quantised.

    Args:
        model: `keras.Model`.

    Returns:
        list of `keras.layers.Layer`.

    Example:
        >>> quantized_layers(keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)]))
        []

    Source: ours.
    """
    return [one for one in _quantizable(model) if one.quantization_mode is not None]


def refuse_quantized(model, what, instead):
    """Raise for a quantised model.

    Args:
        model: `keras.Model`.
        what: str. What was asked for, such as `"add_modality()"`.
        instead: str. What to do with the model as it was before.

    Raises:
        InputError: when a layer of the model is quantised.

    Source: ours.
    """
    layers = quantized_layers(model)
    if layers:
        raise InputError(
            f"Received {what} for a model with {len(layers)} layers quantized to "
            f"{layers[0].quantization_mode}; take the model as it was before quantize(), {instead}."
        )


def _quantizable(model):
    """Those that Keras can quantise; of others it would tell in a warning each."""
    return [
        layer
        for layer in model_layers(model)
        if type(layer).quantize is not keras.layers.Layer.quantize
        and not isinstance(layer, keras.Model)
    ]


def _checked(model, mode, filters):
    """The layers that are to be quantised."""
    if mode not in MODES:
        raise InputError(
            f"Received the quantization {mode}; expected {' or '.join(MODES)}. For another "
            "runtime, export the model: `espmedsam export --precision int8`, or "
            'export_for(..., precision="int8").'
        )
    refuse_adapters(model, "quantize()")
    layers = [layer for layer in _quantizable(model) if _is_chosen(layer, filters)]
    if not layers:
        raise InputError(
            f"Received quantize() with filters that fit none of the {len(_quantizable(model))} "
            "layers that can be quantized; give others, or none for all of them."
        )
    again = [one for one in layers if one.quantization_mode is not None]
    if again:
        layer = again[0]
        raise InputError(
            f"Received quantize() for a model with {len(again)} layers quantized "
            f"to {layer.quantization_mode} already, such as {layer.path}; take the model as it was "
            "before, or leave them out by filters."
        )
    halves = [layer for layer in layers if layer.compute_dtype == "float16"]
    if halves:
        raise InputError(
            f"Received quantize() for {len(halves)} layers that compute in float16, such as "
            f"{halves[0].path}, whose range is too small for it; load the model with "
            'dtype="float32" or "mixed_bfloat16".'
        )
    return layers


def _is_chosen(layer, filters):
    """As Keras reads `filters`."""
    if callable(filters):
        return bool(filters(layer))
    patterns = [filters] if isinstance(filters, str) else filters
    return patterns is None or any(re.search(pattern, layer.name) for pattern in patterns)


def _begun_anew(model):
    """The optimiser of a compiled model without its state, which belongs to other weights."""
    optimizer = getattr(model, "optimizer", None)
    if optimizer is None or not optimizer.built:
        return None
    return keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))


@contextlib.contextmanager
def _quick_collection():
    """Keras collects garbage for every weight that it exchanges: of what is new, in this block.

    For all objects of a process that takes most of a second each time.
    """
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


@contextlib.contextmanager
def _policies_kept(model):
    layers = quantized_layers(model)
    policies = [keras.dtype_policies.serialize(layer.dtype_policy) for layer in layers]
    try:
        yield
    finally:
        for layer, policy in zip(layers, policies, strict=True):
            layer.dtype_policy = keras.dtype_policies.get(policy)


def _record(model):
    """How the layers are quantised, but for those of models within that say so themselves."""
    told = set()
    for layer in model_layers(model):
        if layer is not model and getattr(layer, "keeps_quantization", False):
            told |= {id(one) for one in model_layers(layer)}
    entries = []
    for layer in quantized_layers(model):
        # One that was built so, by the dtype that it was given, has no configuration of its own.
        quantization = getattr(layer, "quantization_config", None)
        if id(layer) in told or quantization is None:
            continue
        config = keras.saving.serialize_keras_object(quantization)
        entry = next((one for one in entries if one["config"] == config), None)
        if entry is None:
            entry = {"config": config, "layers": []}
            entries.append(entry)
        entry["layers"].append(layer.path)
    return entries


def _check_integers(model, path):
    """Refuse a file of weights that holds another number of integer ones than the model."""
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
            "file into a model that quantize() was called on as on the one that was saved, or that "
            "it was not called on."
        )


def _as_written(config):
    """The object of a configuration, of which JSON made the tuples lists."""
    quantizers = {
        key: {**value, "config": {**value["config"], "value_range": tuple(value_range)}}
        for key, value in config["config"].items()
        if isinstance(value, dict) and (value_range := value["config"].get("value_range"))
    }
    return keras.saving.deserialize_keras_object(
        {**config, "config": {**config["config"], **quantizers}}
    )


def _quantize_as(model, quantization, paths):
    """Quantise layers by their paths. In a model of fewer modalities some are not there."""
    # Initial values that were not drawn are NaN.
    with np.errstate(invalid="ignore"), _quick_collection():
        keras.Model.quantize(
            model,
            quantization.mode,
            config=quantization,
            filters=lambda layer: layer.path in paths and layer.quantization_mode is None,
        )
