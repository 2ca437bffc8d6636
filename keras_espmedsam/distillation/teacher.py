"""A frozen model whose features a student learns to give."""

import hashlib
import json

import keras
import numpy as np
from keras import ops

from keras_espmedsam.distillation.feature_specs import feature_specs
from keras_espmedsam.errors import InputError
from keras_espmedsam.models.image_converter import MEAN, NORMALIZATIONS, STD

# What a model may expect of its images: what is subtracted from values of 0 to 255, and the
# divisor.
EXPECTED = {**NORMALIZATIONS, "unit": ((0.0,) * 3, (255.0,) * 3), "bytes": ((0.0,) * 3, (1.0,) * 3)}


@keras.saving.register_keras_serializable(package="keras_espmedsam")
class Teacher(keras.layers.Layer):
    """Give a frozen model's features for the student's images, always in inference mode.

    Args:
        model: an image encoder of this package, `ESPMedSAMBackbone` or `ESPMedSAMImageSegmenter`
            (their image encoder is the teacher), `keras_hub.models.SAMBackbone` (its image
            encoder) or any `keras.Model` from images to a feature map
            `(batch, height, width, channels)`.
        normalization: what the model expects: `"imagenet"`, `"released"`, `"unit"` (0 to 1) or
            `"bytes"` (0 to 255).
        image_size: (height, width) to which images are resized for it; `None` is the model's
            fixed input size, or the images' own.
        features: tuple of str. `"embedding"` is the model's output; see `FeatureLoss.teacher`.
        name: str. The metrics of several teachers carry it.

    Input: `images`, `(batch, height, width, 3)`, normalised by (x - mean) / std of ImageNet, as
    the student's are; `modalities`, `(batch,)` int, for a model that holds controllers: without
    them, as for common images, these are left out.
    Output: dict of feature name to `(batch, h, w, channels)`, through which no gradient flows.

    Raises:
        InputError: for a model that gives no feature map, or lacks a feature.

    Example:
        >>> image = keras.Input((32, 32, 3))
        >>> model = keras.Model(image, keras.layers.Conv2D(8, 16, strides=16)(image))
        >>> tuple(Teacher(model)(np.zeros((1, 32, 32, 3), "float32"))["embedding"].shape)
        (1, 2, 2, 8)

    Source: ESP-MedSAM (arXiv 2407.14153), whose teachers are SAM's ViT and ViT-Med; any other
    model is ours.
    """

    def __init__(
        self,
        model,
        normalization="imagenet",
        image_size=None,
        features=("embedding",),
        name=None,
        **kwargs,
    ):
        if normalization not in EXPECTED:
            raise InputError(
                f"Received normalization={normalization!r} of a teacher; expected one of "
                f"{', '.join(EXPECTED)}."
            )
        kwargs["trainable"] = False
        super().__init__(name=name, **kwargs)
        self.model = _encoder(model)
        self.normalization = normalization
        self.features = tuple(features)
        self.num_modalities = getattr(self.model, "num_modalities", 0)
        self.image_size = tuple(image_size) if image_size is not None else _fixed_size(self.model)
        self._extractor = None
        if not hasattr(self.model, "features"):
            # Behind a function: the same layers must not be tracked twice.
            extractor = _extractor(self.model, self.features)
            self._extractor = lambda *args, **kwargs: extractor(*args, **kwargs)
        elif set(self.features) != {"embedding"}:
            self._check_features()
        self.built = True

    def call(self, images, modalities=None):
        images = self._prepared(images)
        if self._extractor is not None:
            found = self._extractor(images, training=False)
        else:
            found = self._found(images, modalities)
        for name in self.features:
            if len(found[name].shape) != 4:
                raise InputError(
                    f"The teacher {self.name!r} gives {name!r} of shape {found[name].shape}; "
                    "expected a feature map (batch, height, width, channels)."
                )
        return {name: ops.stop_gradient(found[name]) for name in self.features}

    def _found(self, images, modalities):
        """All features of a model that gives them itself."""
        if self.num_modalities < 2:
            return self.model.features(images, None, training=False)
        options = {} if modalities is not None else {"controllers": False}
        return self.model.features(images, modalities, training=False, **options)

    def _check_features(self):
        known = feature_specs(self.model, self._found)
        for name in self.features:
            if name not in known:
                raise InputError(
                    f"The teacher {self.name!r} has no feature {name!r}; it has {', '.join(known)}."
                )

    def _prepared(self, images):
        images = ops.cast(images, "float32")
        if self.normalization != "imagenet":
            given = (MEAN, STD, *EXPECTED[self.normalization])
            own_mean, own_std, mean, divisor = (ops.convert_to_tensor(v, "float32") for v in given)
            images = (images * own_std + own_mean - mean) / divisor
        if self.image_size is not None and tuple(images.shape[1:3]) != self.image_size:
            images = ops.image.resize(
                images, self.image_size, interpolation="bilinear", data_format="channels_last"
            )
        return images

    def fingerprint(self):
        """Hexadecimal digest that changes with the weights, the architecture or what it is fed.

        Example:
            >>> image = keras.Input((32, 32, 3))
            >>> model = keras.Model(image, keras.layers.Conv2D(8, 16, strides=16)(image))
            >>> len(Teacher(model).fingerprint())
            64

        Source: ours.
        """
        digest = hashlib.sha256()
        about = {
            "model": _without_names(self.model.get_config()),
            "class": type(self.model).__name__,
            "normalization": self.normalization,
            "image_size": self.image_size,
            "features": self.features,
        }
        digest.update(json.dumps(about, sort_keys=True, default=str).encode())
        for weight in self.model.weights:
            array = np.ascontiguousarray(ops.convert_to_numpy(weight.value))
            digest.update(f"{array.shape}{array.dtype}".encode())
            digest.update(array.tobytes())
        return digest.hexdigest()

    def get_config(self):
        return {
            **super().get_config(),
            "model": keras.saving.serialize_keras_object(self.model),
            "normalization": self.normalization,
            "image_size": self.image_size,
            "features": self.features,
        }

    @classmethod
    def from_config(cls, config):
        config = dict(config)
        config.pop("trainable", None)
        model = keras.saving.deserialize_keras_object(config.pop("model"))
        return cls(model, **config)


def _encoder(model):
    """The part of a model that is the teacher."""
    model = getattr(model, "backbone", model)
    encoder = getattr(model, "image_encoder", model)
    if not isinstance(encoder, keras.Model):
        raise InputError(
            f"Received a teacher of type {type(model).__name__}; expected a keras.Model, such as "
            "ViTMedBackbone, ESPMedSAMImageSegmenter or keras_hub.models.SAMBackbone."
        )
    return encoder


def _fixed_size(model):
    try:
        inputs = model.input
    except (AttributeError, ValueError):
        return None  # Not functional: its input size is not known.
    image = inputs["images"] if isinstance(inputs, dict) else inputs
    size = tuple(image.shape[1:3])
    return None if None in size else size


def _extractor(model, features):
    """A model from images to a dict of features: its output and the named layers'."""
    if features == ("embedding",):
        return lambda images, training: {"embedding": model(images, training=training)}
    names = [layer.name for layer in model.layers]
    unknown = [name for name in features if name != "embedding" and name not in names]
    if unknown:
        raise InputError(
            f"The teacher {model.name!r} has no layer {unknown[0]!r}; it has {', '.join(names)}."
        )
    outputs = {
        name: model.output if name == "embedding" else model.get_layer(name).output
        for name in features
    }
    return keras.Model(model.input, outputs)


def _without_names(config, names=None):
    """A config whose layers' names are their numbers: Keras counts names anew in each process."""
    names = names or {}
    if isinstance(config, dict):
        layers = config.get("layers")
        if isinstance(layers, list | tuple):
            own = [layer.get("name") for layer in layers if isinstance(layer, dict)]
            names = {**names, **{name: f"layer {i}" for i, name in enumerate(own)}}
        return {key: _without_names(value, names) for key, value in config.items() if key != "name"}
    if isinstance(config, list | tuple):
        return [_without_names(value, names) for value in config]
    return names.get(config, config) if isinstance(config, str) else config
