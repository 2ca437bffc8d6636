"""The contract of image encoders, and an adapter that makes any other Keras model one."""

import functools
from typing import NamedTuple

import keras
import numpy as np

from keras_espmedsam.errors import InputError
from keras_espmedsam.hub.other_packages import deserialize_with_others
from keras_espmedsam.layers.rematerialization import is_rematerializable
from keras_espmedsam.layers.window_attention import CLOSED_TOKEN_BIAS
from keras_espmedsam.models.feature_specs import feature_specs
from keras_espmedsam.registries import image_encoders


class FeatureLevel(NamedTuple):
    """A feature map: its stride in pixels of the image, and its channels.

    Example:
        >>> FeatureLevel(stride=16, width=256)
        FeatureLevel(stride=16, width=256)
    """

    stride: int
    width: int


class ImageEncoder:
    """The contract of an image encoder: second base class of a functional `keras.Model`.

    Code outside an encoder uses only what is defined here. A new encoder derives from
    `keras_hub.models.Backbone` and from this class, in this order, and overrides what differs.
    With one output and a fixed input size it has to override nothing. To use it by name, also in
    `train.yaml`, register it in `keras_espmedsam.registries.image_encoders`.

    Input: images `(batch, height, width, 3)`, or with several controllers a dict of `images` and
    `modalities`, `(batch,)` int.
    Output: the embedding, `(batch, height / output_stride, width / output_stride, channels)`.

    Attributes, to be set after `super().__init__`:
        num_modalities: int. Number of modality controllers; 0 for none. An encoder that can have
            controllers has an argument, and a key in its configuration, of this name.
        image_shape: tuple `(height, width, channels)`; `None` for a side of any size. Derived from
            the input if not set. An encoder that can be built for another size has an argument of
            this name.
        output_stride: int. Pixels of the image per step of the embedding. Derived from a fixed
            input size if not set.
        size_multiple: int. Height and width must be multiples of it.
        origins: list of `keras_espmedsam.hub.origins.Origin`, what its weights were begun from.

    Example:
        >>> encoder = TinyViTBackbone(
        ...     hidden_dims=(16, 16, 32, 32), depths=(1, 1, 1, 1), num_heads=(1, 2, 2),
        ...     window_sizes=(4, 4, 4), neck_dim=32)
        >>> isinstance(encoder, ImageEncoder), encoder.output_stride, encoder.fixed_size
        (True, 16, None)
    """

    num_modalities = 0
    size_multiple = 1
    origins = ()

    # Not properties, so that encoders can set them.
    @functools.cached_property
    def image_shape(self):
        return _input_shape(self)

    @functools.cached_property
    def output_stride(self):
        return _derived_stride(self)

    @property
    def fixed_size(self):
        """(height, width) of the only images it takes, or `None`."""
        size = tuple(self.image_shape[:2])
        return None if None in size else size

    @property
    def levels(self):
        """dict of each name in `features` to its `FeatureLevel`.

        Example:
            >>> encoder = TinyViTBackbone(
            ...     hidden_dims=(16, 16, 32, 32), depths=(1, 1, 1, 1), num_heads=(1, 2, 2),
            ...     window_sizes=(4, 4, 4), neck_dim=24)
            >>> encoder.levels["stage_1"], encoder.levels["embedding"]
            (FeatureLevel(stride=8, width=16), FeatureLevel(stride=16, width=24))
        """
        return probed_levels(self, self.features, self.fixed_size)

    @property
    def feature_names(self):
        """Tuple of the names that `extractor` takes."""
        return tuple(self.levels)

    def embed(self, images, modalities=None, training=None):
        """Compute the embedding by calling the model.

        Args:
            images: tensor `(batch, height, width, 3)`, or symbolic.
            modalities: `(batch,)` int, or `None` with 0 or 1 controllers.
            training: bool or `None`.
        """
        return _call(self, self.num_modalities, images, modalities, training)

    def features(self, images, modalities=None, controllers=True, training=None):
        """Compute the feature maps by name; an encoder of one output has only the embedding.

        Args:
            images: float tensor `(batch, height, width, 3)`, normalised.
            modalities: int tensor `(batch,)`; not needed with 0 or 1 controllers, or without them.
            controllers: bool. `False` runs only the shared encoder, without any modality's
                controller, as for learning what the modalities have in common.
            training: bool or `None`. In training mode BatchNorm uses and updates its statistics.

        Returns:
            dict of `(batch, h, w, channels)`, among them `embedding`.
        """
        if self.num_modalities and not controllers:
            raise InputError(
                f"Received controllers=False for {type(self).__name__}, which has controllers "
                "but no method features that can run without them; define one."
            )
        return {"embedding": self.embed(images, modalities, training)}

    def extractor(self, names):
        """Return a function like `features` that computes only the named features.

        Args:
            names: list of some of `feature_names`.

        Raises:
            InputError: for an unknown name.
        """
        names = tuple(names)
        # Listing the known names means going through the whole model.
        if names != ("embedding",):
            _check_names(self, names)

        def extract(images, modalities=None, controllers=True, training=None):
            found = self.features(images, modalities, controllers=controllers, training=training)
            return {name: found[name] for name in names}

        return extract

    def controller_layers(self, index):
        """Return the layers that hold only one modality's controller; by default none.

        Args:
            index: int. The modality, less than `num_modalities`.

        Source: ESP-MedSAM (arXiv 2407.14153), the controller.
        """
        return []

    def close_controller(self, index):
        """Reset a controller so that it changes nothing until it is trained.

        Args:
            index: int. The modality.
        """
        close_controller(self.controller_layers(index))

    def adapter_layers(self):
        """Return the layers added to a pretrained encoder for all modalities; often none."""
        return []

    def layers_by_depth(self):
        """Return lists of layers from the input on, for learning rates by depth; may be empty."""
        return []

    def folded(self):
        """Return a copy for inference without the batch normalisation of other packages' layers.

        `models.folding.fold` calls it, and itself folds the normalisation of `ConvNorm`.

        Returns:
            `ImageEncoder` with its own weights, equal up to rounding; `None` if there is none.
        """
        return None

    def rematerializable_layers(self):
        """Return layers that can be recomputed instead of stored; see `rematerializable`."""
        return [layer for layer in self.layers if is_rematerializable(layer)]


class _AdaptedModel(ImageEncoder):
    """Adapts a `keras.Model` that does not derive from `ImageEncoder`, by its attributes.

    This is the only place that inspects a model for optional attributes.
    """

    def __init__(self, model):
        self.model = model

    @property
    def num_modalities(self):
        return getattr(self.model, "num_modalities", 0)

    @property
    def size_multiple(self):
        return getattr(self.model, "size_multiple", 1)

    @functools.cached_property
    def image_shape(self):
        return _input_shape(self.model)

    @functools.cached_property
    def output_stride(self):
        stride = getattr(self.model, "output_stride", None)
        return _derived_stride(self.model) if stride is None else stride

    @property
    def layers(self):
        return self.model.layers

    @property
    def _has_features(self):
        return hasattr(self.model, "features")

    @property
    def feature_names(self):
        if self._has_features:
            return super().feature_names
        return ("embedding", *(layer.name for layer in self.model.layers))

    def embed(self, images, modalities=None, training=None):
        return _call(self.model, self.num_modalities, images, modalities, training)

    def features(self, images, modalities=None, controllers=True, training=None):
        if self._has_features:
            options = {} if controllers else {"controllers": False}
            return self.model.features(images, modalities, training=training, **options)
        return super().features(images, modalities, controllers, training)

    def extractor(self, names):
        names = tuple(names)
        if self._has_features or names == ("embedding",):
            return super().extractor(names)
        _check_names(self, names)
        model, count = self.model, self.num_modalities
        outputs = {
            name: model.output if name == "embedding" else model.get_layer(name).output
            for name in names
        }
        inner = keras.Model(model.input, outputs)

        def extract(images, modalities=None, controllers=True, training=None):
            return _call(inner, count, images, modalities, training)

        return extract

    def controller_layers(self, index):
        return self.model.controller_layers(index) if self.num_modalities else []

    def adapter_layers(self):
        return self.model.adapter_layers() if hasattr(self.model, "adapter_layers") else []


def as_image_encoder(model):
    """Return the model itself if it is an `ImageEncoder`, otherwise an adapter of it.

    Args:
        model: `ImageEncoder`, or another `keras.Model` from images to a feature map. Its attributes
            `num_modalities`, `output_stride`, `features` and `controller_layers` are used if it
            has them.

    Returns:
        `ImageEncoder`. An adapter is not a layer and has no weights of its own.

    Raises:
        InputError: for anything but a `keras.Model`.

    Example:
        >>> image = keras.Input((32, 32, 3))
        >>> model = keras.Model(image, keras.layers.Conv2D(8, 16, strides=16)(image))
        >>> encoder = as_image_encoder(model)
        >>> encoder.output_stride, encoder.fixed_size, encoder.num_modalities
        (16, (32, 32), 0)
    """
    if isinstance(model, ImageEncoder):
        return model
    if not isinstance(model, keras.Model):
        raise InputError(
            f"Received an image encoder of type {type(model).__name__}; expected a keras.Model "
            "from images to a feature map, such as TinyViTBackbone."
        )
    return _AdaptedModel(model)


def image_encoder_of(model):
    """Return the image encoder of a segmenter or backbone (also keras-hub's SAM), or the model.

    Args:
        model: `keras.Model`.
    """
    if isinstance(model, ImageEncoder):
        return model
    backbone = getattr(model, "backbone", model)
    return getattr(backbone, "image_encoder", backbone)


def close_controller(layers):
    """Reset a controller so that it changes nothing: adapters give 0, tokens are closed.

    Args:
        layers: its `ModalityVariables`, from `controller_layers`.

    Raises:
        InputError: for a layer that is neither a token nor an adapter.
    """
    for layer in layers:
        if "token" in layer.shapes:
            layer["bias"].assign(np.full(layer["bias"].shape, CLOSED_TOKEN_BIAS, "float32"))
        elif {"dense_2_kernel", "dense_2_bias"} <= set(layer.shapes):
            for part in ("dense_2_kernel", "dense_2_bias"):
                layer[part].assign(np.zeros(layer[part].shape, "float32"))
        else:
            raise InputError(
                f"The controller's layer {layer.name!r} holds {', '.join(layer.shapes)}: neither a "
                "token nor an adapter; give the image encoder a method close_controller(index)."
            )


def probed_levels(model, function, size=None):
    """Return the levels of a model's features without computing them.

    Args:
        model: `keras.Model` of images.
        function: takes `(images, modalities)`, returns a dict of tensors.
        size: (height, width) of the images; `None` is a size that all strides divide.

    Returns:
        dict of name to `FeatureLevel`.

    Raises:
        InputError: for a feature that is not a map, or whose size does not divide the image's.
    """
    size = size or (_PROBE_SIZE, _PROBE_SIZE)
    levels = {}
    for name, spec in feature_specs(model, function, size).items():
        if len(spec.shape) != 4 or size[0] % spec.shape[1]:
            raise InputError(
                f"The feature {name!r} of {model.name!r} has the shape {tuple(spec.shape)} for an "
                f"image of {size[0]} x {size[1]}; expected (batch, height / stride, width / "
                "stride, channels)."
            )
        levels[name] = FeatureLevel(size[0] // spec.shape[1], spec.shape[-1])
    return levels


# A multiple of all common strides.
_PROBE_SIZE = 256


def serialize_within(model, policy):
    """Return the configuration of a model inside another, which follows the other's precision.

    Args:
        model: `keras.Model`.
        policy: `keras.DTypePolicy` of the outer model. If the inner model has the same, its
            `dtype` is left out, so that `from_preset(..., dtype=...)`, which changes only the
            outer one, changes both.
    """
    config = keras.saving.serialize_keras_object(model)
    if config["config"].get("dtype") == keras.dtype_policies.serialize(policy):
        config = {**config, "config": {**config["config"], "dtype": None}}
    return config


def deserialize_within(config, dtype, image_shape=None):
    """Rebuild the model of `serialize_within`; a model is returned unchanged.

    Args:
        config: dict, or `keras.Model`.
        dtype: dtype of the outer model, used if the inner one's was left out.
        image_shape: tuple or `None`. Replaces the model's own.

    Raises:
        InputError: for an image shape if the model's configuration has none.
    """
    if not isinstance(config, dict):
        return config
    inner = dict(config["config"])
    if "dtype" in inner and inner["dtype"] is None:
        inner["dtype"] = dtype
    if image_shape is not None:
        if "image_shape" not in inner:
            raise InputError(
                f"Received image_shape={tuple(image_shape)} for an image encoder of class "
                f"{config['class_name']}, which is made for one size or takes any; leave it out."
            )
        inner["image_shape"] = image_shape
    return deserialize_with_others({**config, "config": inner}, image_encoders)


def _check_names(encoder, names):
    known = encoder.feature_names
    for name in names:
        if name not in known:
            raise InputError(f"Received the feature {name!r}; expected one of {', '.join(known)}.")


def _call(model, num_modalities, images, modalities, training):
    # Omit arguments that were not given, for models whose `call` does not take them.
    options = {} if training is None else {"training": training}
    if num_modalities > 1:
        return model({"images": images, "modalities": modalities}, **options)
    return model(images, **options)


def _image_input(model):
    try:
        inputs = model.input
    except (AttributeError, ValueError):
        return None  # Not a functional model: its input is unknown.
    return inputs["images"] if isinstance(inputs, dict) else inputs


def _input_shape(model):
    image = _image_input(model)
    return (None, None, 3) if image is None else tuple(image.shape[1:])


def _derived_stride(model):
    """Pixels per step of the output of a model of fixed input size, or `None`."""
    image = _image_input(model)
    if image is None or not isinstance(model.output, keras.KerasTensor):
        return None
    height, reduced = image.shape[1], model.output.shape[1]
    return None if None in (height, reduced) else height // reduced
