"""A frozen model whose features a student learns to reproduce."""

import hashlib
import json

import keras
import numpy as np
from keras import ops

from keras_espmedsam.distillation.mask_loss import MASKS
from keras_espmedsam.errors import InputError
from keras_espmedsam.hub.other_packages import deserialize_with_others
from keras_espmedsam.models.esp_medsam.esp_medsam_backbone import ESPMedSAMBackbone
from keras_espmedsam.models.image_converter import MEAN, NORMALIZATIONS, STD
from keras_espmedsam.models.image_encoder import as_image_encoder, image_encoder_of
from keras_espmedsam.ops.device_constant import device_constant
from keras_espmedsam.registries import image_encoders

# By the kind of images that a model expects: what to subtract from values of 0 to 255, and divisor.
EXPECTED = {**NORMALIZATIONS, "unit": ((0.0,) * 3, (255.0,) * 3), "bytes": ((0.0,) * 3, (1.0,) * 3)}


@keras.saving.register_keras_serializable(package="keras_espmedsam")
class Teacher(keras.layers.Layer):
    """Return a frozen model's features for the student's images, always in inference mode.

    Args:
        model: an image encoder of this package, `ESPMedSAMBackbone` or `ESPMedSAMImageSegmenter`
            (their image encoder is the teacher, unless their masks are among the features),
            `keras_hub.models.SAMBackbone` (its image encoder) or any `keras.Model` from images to
            a feature map `(batch, height, width, channels)`.
        normalization: what the model expects: `"imagenet"`, `"released"`, `"unit"` (0 to 1) or
            `"bytes"` (0 to 255).
        image_size: (height, width) to which images are resized for it; `None` is the model's
            fixed input size, or the images' own.
        features: tuple of str. `"embedding"` is the model's output; see `FeatureLoss.teacher`.
            `"masks"` are the logits of a segmenter's targets, for `MaskLoss`.
        name: str. Part of the metrics' names if there are several teachers.
        modalities: tuple of str or None. The modalities of the model's controllers, in their
            order, by which those of a student are matched. `None` is those of the segmenter or
            backbone; of a bare encoder, the student's.

    Input: `images`, `(batch, height, width, 3)`, normalised by (x - mean) / std of ImageNet, as
    for the student; `modalities`, `(batch,)` int, the teacher's own (see `indices_of`), for a
    model with controllers, which are skipped if no modalities are given, as for common images.
    Output: dict of feature name to `(batch, h, w, channels)`, through which no gradient flows.

    Raises:
        InputError: for a model without a feature map, or without one of the features.

    Example:
        >>> image = keras.Input((32, 32, 3))
        >>> model = keras.Model(image, keras.layers.Conv2D(8, 16, strides=16)(image))
        >>> tuple(Teacher(model)(np.zeros((1, 32, 32, 3), "float32"))["embedding"].shape)
        (1, 2, 2, 8)

    Source: ESP-MedSAM (arXiv 2407.14153), whose teachers are SAM's ViT and ViT-Med. Departs from
    the paper: any other model can be a teacher.
    """

    def __init__(
        self,
        model,
        normalization="imagenet",
        image_size=None,
        features=("embedding",),
        name=None,
        modalities=None,
        **kwargs,
    ):
        if normalization not in EXPECTED:
            raise InputError(
                f"Received normalization={normalization!r} of a teacher; expected one of "
                f"{', '.join(EXPECTED)}."
            )
        kwargs["trainable"] = False
        super().__init__(name=name, **kwargs)
        self.features = tuple(features)
        backbone = getattr(model, "backbone", model)
        segments = isinstance(backbone, ESPMedSAMBackbone)
        self.decodes = segments and MASKS in self.features
        self.model = backbone if self.decodes else _encoder(model)
        self.target_set = backbone.target_set if self.decodes else None
        if modalities is None and segments:
            modalities = backbone.modalities
        self.modalities = None if modalities is None else tuple(modalities)
        self.normalization = normalization
        encoder = as_image_encoder(image_encoder_of(self.model))
        self.num_modalities = encoder.num_modalities
        self.image_size = tuple(image_size) if image_size is not None else encoder.fixed_size
        of_encoder = tuple(n for n in self.features if not (self.decodes and n == MASKS))
        if of_encoder not in (("embedding",), ()):
            _check_features(self.name, encoder.feature_names, of_encoder)
        if self.decodes:
            of_encoder = tuple(dict.fromkeys(("embedding", *of_encoder)))
        extract = encoder.extractor(of_encoder)
        # Wrapped in a function: the same layers must not be tracked twice.
        self._extract = lambda *args, **kwargs: extract(*args, **kwargs)
        self.built = True

    @property
    def takes_modalities(self):
        """Whether its features depend on the modality of an image."""
        return self.num_modalities > 1 or (self.decodes and len(self.model.modalities) > 1)

    def indices_of(self, modalities):
        """Return this teacher's index of each of a student's modalities, by name.

        Args:
            modalities: tuple of str; or of int, of a student whose modalities have no names.

        Returns:
            Tuple of int, -1 for a modality that the teacher does not have. If the teacher's
            modalities have no names, or the student's, they are assumed to be the same.

        Example:
            >>> image = keras.Input((32, 32, 3))
            >>> model = keras.Model(image, keras.layers.Conv2D(8, 16, strides=16)(image))
            >>> Teacher(model, modalities=("xray", "fundus")).indices_of(("fundus", "skin"))
            (1, -1)
        """
        if self.modalities is None or any(isinstance(name, int) for name in modalities):
            return tuple(range(len(modalities)))
        places = {name: index for index, name in enumerate(self.modalities)}
        return tuple(places.get(name, -1) for name in modalities)

    def call(self, images, modalities=None):
        images = self._prepared(images)
        own = modalities if self.num_modalities > 1 else None
        # Without modalities, as for common images, only the shared encoder runs.
        options = {"controllers": False} if self.num_modalities > 1 and own is None else {}
        found = self._extract(images, own, training=False, **options)
        if self.decodes:
            several = len(self.model.modalities) > 1
            embeddings = self.model.with_details(found["embedding"], images)
            decoded = self.model.decode(embeddings, modalities if several else None)
            found = {**found, MASKS: decoded["masks"]}
        for name in self.features:
            if len(found[name].shape) != 4:
                raise InputError(
                    f"The teacher {self.name!r} gives {name!r} of shape {found[name].shape}; "
                    "expected a feature map (batch, height, width, channels)."
                )
        return {name: ops.stop_gradient(found[name]) for name in self.features}

    def _prepared(self, images):
        images = ops.cast(images, "float32")
        if self.normalization != "imagenet":
            given = (MEAN, STD, *EXPECTED[self.normalization])
            own_mean, own_std, mean, divisor = (
                device_constant(_as_float32, v, like=images) for v in given
            )
            images = (images * own_std + own_mean - mean) / divisor
        if self.image_size is not None and tuple(images.shape[1:3]) != self.image_size:
            images = ops.image.resize(
                images, self.image_size, interpolation="bilinear", data_format="channels_last"
            )
        return images

    def fingerprint(self):
        """Return a hexadecimal digest that changes with weights, architecture or preprocessing.

        Example:
            >>> image = keras.Input((32, 32, 3))
            >>> model = keras.Model(image, keras.layers.Conv2D(8, 16, strides=16)(image))
            >>> len(Teacher(model).fingerprint())
            64
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
            **({} if self.modalities is None else {"modalities": self.modalities}),
        }

    @classmethod
    def from_config(cls, config):
        config = dict(config)
        config.pop("trainable", None)
        model = deserialize_with_others(config.pop("model"), image_encoders)
        return cls(model, **config)


def _as_float32(values):
    return np.array(values, "float32")


def _encoder(model):
    """Return the part of a model that acts as the teacher."""
    encoder = image_encoder_of(model)
    if not isinstance(encoder, keras.Model):
        raise InputError(
            f"Received a teacher of type {type(model).__name__}; expected a keras.Model, such as "
            "ViTMedBackbone, ESPMedSAMImageSegmenter or keras_hub.models.SAMBackbone."
        )
    return encoder


def _check_features(teacher, known, names):
    for name in names:
        if name not in known:
            whose = " Masks are those of an ESPMedSAMImageSegmenter; give it whole."
            raise InputError(
                f"The teacher {teacher!r} has no feature {name!r}; it has {', '.join(known)}."
                + whose * (name == MASKS)
            )


def _without_names(config, names=None):
    """Replace layer names in a config by numbers: Keras restarts its name counters per process."""
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
