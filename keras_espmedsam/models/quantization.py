"""Models that keep the precision of their quantised layers when they are saved and loaded.

Keras' `quantize` replaces the weights of dense layers. The model's configuration must record that,
or the model built from it has other weights than the file. Layers that contain dense layers have
no place for it (Keras' issue 21378), so it is recorded once per model: which layers, by their
paths, and how. Loading builds the model as usual, quantises the same layers in the same way, and
then loads the file's weights.
"""

import contextlib
import gc
import re

import keras
import numpy as np

from keras_espmedsam.errors import InputError
from keras_espmedsam.models.lora import refuse_adapters, reset_adapters
from keras_espmedsam.models.model_layers import model_layers
from keras_espmedsam.models.weight_loading import weights_were_loaded
from keras_espmedsam.models.weights_file import check_weights_fit

KEY = "quantization"
"""The configuration's key; only a quantised model has it."""
MODES = ("int8", "int4")


def keeps_quantization(decorated):
    """Class decorator: adds `quantize` and records it in `get_config` and `from_config`.

    Args:
        decorated: class of a functional `keras.Model` with a configuration of its own.

    Example:
        >>> backbone = TiCBackbone(
        ...     hidden_dims=(8, 8), depths=(1, 1), num_heads=(1, 1), kernel_size=3)
        >>> backbone.quantize("int8")
        >>> twin = TiCBackbone.from_config(backbone.get_config())
        >>> len(quantized_layers(twin))
        6
    """
    own_get_config = decorated.get_config
    own_from_config = decorated.from_config.__func__

    def quantize(self, mode=None, config=None, filters=None, **kwargs):
        """Store and multiply the weights of dense layers as integers, in place.

        Convolutions stay as they are. Saved models (`save`, `save_to_preset`, `save_weights`) load
        and give the same outputs. An optimizer that has taken steps starts over. For other
        runtimes, `export_for(..., precision="int8")` quantises convolutions too.

        Args:
            mode: `"int8"` or `"int4"`; not needed with a `config`.
            config: `keras.quantizers.Int8QuantizationConfig` or `Int4QuantizationConfig`.
            filters: which layers: a regular expression to search in their names, a list of these,
                or a function of the layer; `None` is all dense layers.
            **kwargs: passed to Keras.

        Raises:
            InputError: for another mode, a model that is already quantised, or filters that match
                no layer. The model is then unchanged.

        Example:
            >>> classifier = TiCImageClassifier(
            ...     TiCBackbone(hidden_dims=(8, 8), depths=(1, 1), num_heads=(1, 1), kernel_size=3),
            ...     class_names=("fundus", "xray"))
            >>> classifier.quantize("int8", filters="dense")
            >>> classifier.output_dense.quantization_mode is None
            True

        Source: Keras' `quantize`.
        """
        layers = _checked(self, mode, filters)
        getattr(self, "weights_change", lambda: None)()  # A backbone has nothing to remove.
        optimizer = _without_state(self)
        chosen = {id(layer) for layer in layers}
        with _quick_collection():
            keras.Model.quantize(
                self, mode, config=config, filters=lambda layer: id(layer) in chosen, **kwargs
            )
        if optimizer is not None:
            self.optimizer = optimizer

    def get_config(self):
        # keras-hub's own record, a DTypePolicyMap, changes the policies that it was made from.
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
        """Load weights as Keras does, but first check that the file is quantised alike.

        What was fitted to the weights that a segmenter had is removed, with a warning.

        Args:
            filepath: str or path.
            skip_mismatch: bool. Skip weights that do not fit.
            **kwargs: passed to Keras.

        Raises:
            InputError: if only the file or only the model is quantised, or they differ.

        Example:
            >>> import tempfile
            >>> backbone = TiCBackbone(
            ...     hidden_dims=(8, 8), depths=(1, 1), num_heads=(1, 1), kernel_size=3)
            >>> path = tempfile.mkdtemp() + "/model.weights.h5"
            >>> backbone.save_weights(path)
            >>> backbone.load_weights(path)

        Source: Keras' `load_weights`.
        """
        if not skip_mismatch:
            check_weights_fit(self, filepath)
        super(decorated, self).load_weights(filepath, skip_mismatch=skip_mismatch, **kwargs)
        reset_adapters(self)
        weights_were_loaded(self)

    decorated.quantize = quantize
    decorated.load_weights = load_weights
    decorated.get_config = get_config
    decorated.from_config = from_config
    decorated.keeps_quantization = True
    return decorated


def quantized_layers(model):
    """Return the layers of a model, at any depth, that are quantised.

    Args:
        model: `keras.Model`.

    Returns:
        list of `keras.layers.Layer`.

    Example:
        >>> quantized_layers(keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)]))
        []
    """
    return [one for one in _quantizable(model) if one.quantization_mode is not None]


def refuse_quantized(model, what, instead):
    """Raise for a quantised model.

    Args:
        model: `keras.Model`.
        what: str. The requested operation, such as `"add_modality()"`.
        instead: str. What to do with the model as it was before.

    Raises:
        InputError: when a layer of the model is quantised.
    """
    layers = quantized_layers(model)
    if layers:
        raise InputError(
            f"Received {what} for a model with {len(layers)} layers quantized to "
            f"{layers[0].quantization_mode}; take the model as it was before quantize(), {instead}."
        )


def _quantizable(model):
    """Return the layers that Keras can quantise; it would warn about each of the others."""
    return [
        layer
        for layer in model_layers(model)
        if type(layer).quantize is not keras.layers.Layer.quantize
        and not isinstance(layer, keras.Model)
    ]


def _checked(model, mode, filters):
    """Return the layers to quantise."""
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
    """Whether `filters`, read as Keras reads it, selects the layer."""
    if callable(filters):
        return bool(filters(layer))
    patterns = [filters] if isinstance(filters, str) else filters
    return patterns is None or any(re.search(pattern, layer.name) for pattern in patterns)


def _without_state(model):
    """Return a compiled model's optimizer without its state, which fits the old weights."""
    optimizer = getattr(model, "optimizer", None)
    if optimizer is None or not optimizer.built:
        return None
    return keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))


@contextlib.contextmanager
def _quick_collection():
    """Limit garbage collection to new objects within the block.

    Keras collects garbage for every weight that it replaces; with all objects of a process each
    collection takes most of a second.
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
    """Record how layers are quantised, except in inner models that record it themselves."""
    recorded = set()
    for layer in model_layers(model):
        if layer is not model and getattr(layer, "keeps_quantization", False):
            recorded |= {id(one) for one in model_layers(layer)}
    entries = []
    for layer in quantized_layers(model):
        # A layer that its dtype quantised has no configuration.
        quantization = getattr(layer, "quantization_config", None)
        if id(layer) in recorded or quantization is None:
            continue
        config = keras.saving.serialize_keras_object(quantization)
        entry = next((one for one in entries if one["config"] == config), None)
        if entry is None:
            entry = {"config": config, "layers": []}
            entries.append(entry)
        entry["layers"].append(layer.path)
    return entries


def _as_written(config):
    """Restore the object of a configuration, whose tuples JSON turned into lists."""
    quantizers = {
        key: {**value, "config": {**value["config"], "value_range": tuple(value_range)}}
        for key, value in config["config"].items()
        if isinstance(value, dict) and (value_range := value["config"].get("value_range"))
    }
    return keras.saving.deserialize_keras_object(
        {**config, "config": {**config["config"], **quantizers}}
    )


def _quantize_as(model, quantization, paths):
    """Quantise layers by path; a model of fewer modalities lacks some of them."""
    # Undrawn initial values are NaN.
    with np.errstate(invalid="ignore"), _quick_collection():
        keras.Model.quantize(
            model,
            quantization.mode,
            config=quantization,
            filters=lambda layer: layer.path in paths and layer.quantization_mode is None,
        )
