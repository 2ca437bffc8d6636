"""Low-rank adapters (LoRA) of a backbone: which layers get them, their files, and merging them.

keras-hub adapts layers named `query` and `value`, which only the mask decoder has. The encoder,
whose queries, keys and values are one layer, would be frozen silently. keras-hub also trains the
biases of adapted layers, but does not write them to its adapter files.
"""

import numbers
import pathlib

import h5py
import keras
import numpy as np

from keras_espmedsam._files import atomic_path
from keras_espmedsam._shown import shown
from keras_espmedsam.errors import InputError
from keras_espmedsam.hub.stored_weights import check_weights_file
from keras_espmedsam.imaging.finite import all_finite
from keras_espmedsam.models.image_encoder import image_encoder_of
from keras_espmedsam.models.model_layers import model_layers
from keras_espmedsam.models.weight_loading import weights_were_loaded

LORA_LAYER_NAMES = ("qkv", "projection", "dense_1", "dense_2", "query", "value")
"""Attention and MLPs of the encoders, and keras-hub's targets in the decoder's attention."""
SUFFIX = ".lora.h5"
KERNELS = ("lora_kernel_a", "lora_kernel_b")


def adapts_by_lora(decorated):
    """Class decorator: makes LoRA reach the encoder of a keras-hub backbone.

    Args:
        decorated: class of a `keras_hub.models.Backbone`.

    Example:
        >>> TinyViTBackbone.enable_lora is ESPMedSAMBackbone.enable_lora
        True
    """
    own_get_config = decorated.get_config

    def get_config(self):
        config = own_get_config(self)
        return without_lora_ranks(config) if lora_layers(self) else config

    for name, method in vars(_Adapted).items():
        if not name.startswith("__"):
            setattr(decorated, name, method)
    decorated.get_config = get_config
    return decorated


class _Adapted:
    """The methods that `adapts_by_lora` adds.

    Example:
        >>> backbone = TiCBackbone(
        ...     hidden_dims=(8, 8), depths=(1, 1), num_heads=(1, 1), kernel_size=3)
        >>> backbone.enable_lora(rank=2)
    """

    def default_lora_layer_names(self):
        """Return the names of the layers that `enable_lora` adapts by default.

        Source: LoRA (arXiv 2106.09685).
        """
        return list(LORA_LAYER_NAMES)

    def enable_lora(self, rank, target_layer_names=None):
        """Freeze this backbone and give dense layers low-rank adapters, which are trained.

        By default these are all attention and MLP layers of the image encoder and, for a whole
        ESP-MedSAM, the decoder's layers of these names. Nothing else is trained: no bias, no
        BatchNorm statistics and no modality controller. All modalities share the adapters. To also
        train a modality's controller, run `for layer in backbone.controller_layers(...):
        layer.trainable = True`. Compile the model afterwards.

        `save_lora_weights` writes the adapters. `save`, `save_to_preset`, `export_for` and
        `segmenter.fold()` merge them into the weights: loading gives a model without adapters and
        with the same outputs.

        Args:
            rank: int, 1 or more. Width of the adapters.
            target_layer_names: list of str. Names of the layers to adapt; `None` for
                `default_lora_layer_names()`.

        Raises:
            InputError: for another rank, a name that matches no layer, a model that has adapters
                or is quantised, and an image encoder without any layer of the default names. The
                model is then unchanged.

        Example:
            >>> encoder = TiCBackbone(
            ...     hidden_dims=(8, 8), depths=(1, 1), num_heads=(1, 1), kernel_size=3)
            >>> encoder.enable_lora(rank=2)
            >>> sorted({variable.name for variable in encoder.trainable_variables})
            ['lora_kernel_a', 'lora_kernel_b']

        Source: LoRA (arXiv 2106.09685); keras-hub's `enable_lora`, with other targets.
        """
        rank = _checked_rank(rank)
        _check_plain(self)
        _adapt(self, _targets(self, target_layer_names), rank)

    def save_lora_weights(self, filepath):
        """Write only the adapters.

        Other trained weights, such as a task's head or a modality's controller, are not in the
        file: save the task for that.

        Args:
            filepath: str or path, ending in `.lora.h5`.

        Raises:
            InputError: for another ending, and a model without adapters.

        Example:
            >>> import tempfile
            >>> path = tempfile.mkdtemp() + "/fundus.lora.h5"
            >>> backbone.save_lora_weights(path)
            >>> backbone.load_lora_weights(path)

        Source: keras-hub's `save_lora_weights`, which has the same file format.
        """
        path = _checked_path(filepath)
        layers = _layers_with_weights(self)
        if not lora_layers(self):
            raise InputError(
                "Received save_lora_weights() for a model without adapters; call enable_lora(rank) "
                "first."
            )
        with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
            file["lora/vars/rank"] = next(one.lora_rank for one in layers if _is_adapted(one))
            for i, layer in enumerate(layers):
                if _is_adapted(layer):
                    for name in KERNELS:
                        value = keras.ops.convert_to_numpy(getattr(layer, name))
                        file[f"lora/{i}/vars/{name}"] = value

    def load_lora_weights(self, filepath):
        """Load adapters; a model without adapters is given them first.

        What was fitted to the weights that a segmenter had is removed, with a warning.

        Args:
            filepath: str or path of a file written by `save_lora_weights`.

        Raises:
            InputError: for a file that cannot be read, or holds adapters of another rank or of
                other layers than this model's. The model is then unchanged.

        Example, with the class's `backbone`:
            >>> import tempfile
            >>> path = tempfile.mkdtemp() + "/fundus.lora.h5"
            >>> backbone.save_lora_weights(path)
            >>> backbone.load_lora_weights(path)

        Source: keras-hub's `load_lora_weights`.
        """
        path = _checked_path(filepath)
        rank, kernels = _read(path)
        layers = _layers_with_weights(self)
        _check_fit(path, rank, kernels, layers)
        if not lora_layers(self):
            _check_plain(self)
            _adapt(self, [layers[i] for i in kernels], rank)
        for i, values in kernels.items():
            for name, value in values.items():
                getattr(layers[i], name).assign(value)
        weights_were_loaded(self)


def lora_layers(model):
    """Return the layers of a model, at any depth, that have adapters.

    Args:
        model: `keras.Model`.

    Returns:
        list of `keras.layers.Layer`.

    Example:
        >>> lora_layers(keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)]))
        []
    """
    return [layer for layer in model_layers(model) if _is_adapted(layer)]


def merged_values(model):
    """Return the values of adapted weights with their adapters merged in.

    Args:
        model: `keras.Model`.

    Returns:
        dict of a variable's path to a NumPy array; empty without adapters.

    Example:
        >>> merged_values(keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)]))
        {}

    Source: LoRA (arXiv 2106.09685).
    """
    values = {}
    for layer in lora_layers(model):
        name = _weight_name(layer)
        # The layer's attribute of this name has them merged in; the variable does not.
        merged = keras.ops.convert_to_tensor(getattr(layer, name))
        values[f"{layer.path}/{name}"] = np.array(keras.ops.convert_to_numpy(merged))
    return values


def reset_adapters(model):
    """Make adapters trainable again after loading merged weights.

    Keras sets both halves of each adapter to zero, and then neither has a gradient.

    Args:
        model: `keras.Model` whose weights were loaded.
    """
    for layer in lora_layers(model):
        if not np.any(keras.ops.convert_to_numpy(layer.lora_kernel_a)):
            shape = layer.lora_kernel_a.shape
            layer.lora_kernel_a.assign(keras.initializers.HeUniform()(shape))


def refuse_adapters(model, what):
    """Raise for a model with adapters.

    Args:
        model: `keras.Model`.
        what: str. The requested operation, such as `"quantize()"`.

    Raises:
        InputError: when a layer has one.
    """
    layers = lora_layers(model)
    if layers:
        raise InputError(
            f"Received {what} for a model with LoRA adapters in {len(layers)} layers; save it and "
            "load it again first, which merges them into its weights."
        )


def without_lora_ranks(config):
    """Return a configuration whose layers have no adapters, for files with merged ones."""
    if isinstance(config, dict):
        return {
            key: without_lora_ranks(value)
            for key, value in config.items()
            if key not in ("lora_rank", "lora_alpha")
        }
    if isinstance(config, list | tuple):
        return type(config)(without_lora_ranks(value) for value in config)
    return config


def _is_adapted(layer):
    return bool(getattr(layer, "lora_enabled", False))


def _weight_name(layer):
    return "embeddings" if hasattr(layer, "embeddings") else "kernel"


def _layers_with_weights(model):
    """Return the layers as keras-hub numbers them in its files."""
    return [layer for layer in model_layers(model)[1:] if layer.weights]


def _checked_rank(rank):
    if not isinstance(rank, numbers.Integral) or isinstance(rank, bool) or rank < 1:
        raise InputError(f"Received rank={rank!r} for enable_lora(); expected an int from 1 on.")
    return int(rank)


def _check_plain(model):
    refuse_adapters(model, "enable_lora()")
    quantized = [one for one in model_layers(model)[1:] if one.quantization_mode is not None]
    if quantized:
        raise InputError(
            f"Received enable_lora() for a model with {len(quantized)} layers quantized to "
            f"{quantized[0].quantization_mode}; take the model as it was before quantize()."
        )


def _targets(model, names):
    """Return the layers to adapt."""
    layers = _layers_with_weights(model)
    adaptable = [layer for layer in layers if hasattr(layer, "enable_lora")]
    adaptable = [layer for layer in adaptable if not isinstance(layer, keras.Model)]
    if isinstance(names, str):
        names = [names]
    wanted = list(model.default_lora_layer_names() if names is None else names)
    found = [layer for layer in adaptable if layer.name in wanted]
    if names is not None:
        known = {layer.name for layer in adaptable}
        unknown = [name for name in wanted if name not in known]
        if unknown or not wanted:
            raise InputError(
                f"Received target_layer_names={wanted} for enable_lora(), "
                f"{_listed(unknown) or 'none'} of which fit a layer that can have an adapter; "
                f"expected names among {_listed(known)}."
            )
        return found
    # A custom encoder may have no such names, and would be frozen silently.
    encoder = image_encoder_of(model)
    inside = {id(layer) for layer in model_layers(encoder)}
    if not any(id(layer) in inside for layer in found):
        own = {layer.name for layer in adaptable if id(layer) in inside}
        raise InputError(
            f"Received enable_lora() for an image encoder without layers named {_listed(wanted)}; "
            + (
                f"give target_layer_names among its own: {_listed(own)}."
                if own
                else "it has none that can have an adapter; to adapt only the decoder, give "
                'target_layer_names=["query", "value"].'
            )
        )
    return found


def _listed(names):
    names = sorted(map(str, names))
    more = f" and {len(names) - 12} others" if len(names) > 12 else ""
    return ", ".join(names[:12]) + more


def _adapt(model, layers, rank):
    """Freeze everything except new adapters of the layers."""
    # Never freeze a model as a whole: Keras saves the `trainable` of a model, so the file would
    # load frozen, a surprise.
    model.trainable = True
    for layer in model_layers(model)[1:]:
        if not isinstance(layer, keras.Model):
            layer.trainable = False
    adapters = set()
    for layer in layers:
        layer.trainable = True
        before = {id(variable) for variable in layer.variables}
        # A weight of one modality or target gets adapters of the same one.
        owner = {
            name: getattr(layer.variables[0], name)
            for name in ("modality", "target")
            if hasattr(layer.variables[0], name)
        }
        layer.enable_lora(rank)
        for variable in layer.variables:
            if id(variable) not in before:
                adapters.add(id(variable))
                for name, value in owner.items():
                    setattr(variable, name, value)
    # Each variable by itself: biases must not be trained, and on TensorFlow setting a frozen layer
    # frozen does not change its variables.
    for variable in model.variables:
        variable.trainable = id(variable) in adapters


def _checked_path(filepath):
    path = pathlib.Path(filepath)
    if not path.name.endswith(SUFFIX):
        raise InputError(
            f"Received the file {path} for adapters; expected a name that ends in {SUFFIX}."
        )
    return path


def _read(path):
    """Return the rank, and each adapter's two kernels by the number of its layer."""
    check_weights_file(path, "Give one that save_lora_weights wrote", ("rank", *KERNELS))
    try:
        with h5py.File(path, "r") as file:
            group = file["lora"]
            rank = int(group["vars/rank"][()])
            kernels = {
                int(name): {kernel: part[f"vars/{kernel}"][()] for kernel in KERNELS}
                for name, part in group.items()
                if name != "vars"
            }
    # h5py reports damage in many ways; NumPy fails on values that are not numbers.
    except Exception as error:
        raise InputError(
            f"The file {path} cannot be read as adapters ({shown(error)}); give one that "
            "save_lora_weights wrote."
        ) from error
    arrays = [array for values in kernels.values() for array in values.values()]
    if not all(isinstance(one, np.ndarray) and _are_numbers(one) for one in arrays):
        raise InputError(
            f"The adapters of the file {path} hold NaN or infinite values, or no numbers: a "
            "training that failed, or a damaged file. Give one that save_lora_weights wrote "
            "before."
        )
    return rank, dict(sorted(kernels.items()))


def _are_numbers(array):
    # Kind V is bfloat16, which HDF5 does not know: its bytes look like any others.
    return array.dtype.kind in "fiuV" and (array.dtype.kind == "V" or all_finite(array))


def _check_fit(path, rank, kernels, layers):
    own = {i: layer for i, layer in enumerate(layers) if _is_adapted(layer)}
    if own and (held := next(iter(own.values())).lora_rank) != rank:
        raise InputError(
            f"The file {path} holds adapters of rank {rank}, and this model has some of rank "
            f"{held}; load it into a model on which enable_lora({rank}) or nothing was called."
        )
    fits = not own or set(own) == set(kernels)
    for i, values in kernels.items():
        fits = fits and 0 <= i < len(layers) and hasattr(layers[i], "enable_lora")
        if fits:
            shape = getattr(layers[i], _weight_name(layers[i])).shape
            a, b = (values[name].shape for name in KERNELS)
            fits = a == (*shape[:-1], rank) and b == (rank, shape[-1])
    if not fits:
        raise InputError(
            f"The file {path} holds adapters of {len(kernels)} layers, which are not those of this "
            "model; load it into one of the same architecture, modalities and target layers."
        )
