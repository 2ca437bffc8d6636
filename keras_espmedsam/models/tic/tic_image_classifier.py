"""TiC as a classification task: raw images in, class names and confidences out."""

import keras
import numpy as np
from keras_hub.models import Task

from keras_espmedsam._shown import shown_value
from keras_espmedsam.errors import InputError
from keras_espmedsam.hub.from_preset import knows_builtin_presets
from keras_espmedsam.hub.sizes import check_class_names, check_sizes
from keras_espmedsam.imaging.arrays import as_array
from keras_espmedsam.imaging.host_call import host_call, rank
from keras_espmedsam.imaging.raw_batch import (
    batch_parts,
    check_batch,
    named_inputs,
)
from keras_espmedsam.models.class_weights import weights_by_class
from keras_espmedsam.models.jit_compilation import check_jit_compile
from keras_espmedsam.models.quantization import keeps_quantization, refuse_quantized
from keras_espmedsam.models.raw_training import trains_on_raw_images
from keras_espmedsam.models.sample_weights import image_weights
from keras_espmedsam.models.tasks import ImageClassifier, checked_preprocessor
from keras_espmedsam.models.tic.tic_backbone import TiCBackbone
from keras_espmedsam.models.tic.tic_image_classifier_preprocessor import (
    TiCImageClassifierPreprocessor,
)

POOLINGS = {
    "avg": keras.layers.GlobalAveragePooling2D,
    "max": keras.layers.GlobalMaxPooling2D,
}


@knows_builtin_presets()
@trains_on_raw_images
@keeps_quantization
@keras.saving.register_keras_serializable(package="keras_espmedsam")
class TiCImageClassifier(ImageClassifier):
    """Classify images of any size, with a confidence.

    The backbone's feature map is pooled over all positions, normalised and classified in float32.
    No part depends on the image's size: the same weights take every size.

    Args:
        backbone: `TiCBackbone`, or another backbone whose output is one feature map.
        num_classes: int or None. `None` is the number of `class_names`.
        preprocessor: `TiCImageClassifierPreprocessor`, or `None` if you pass `fit`, `evaluate` and
            `predict` normalised images.
        class_names: tuple of str, or None. The classes' names; without them classes are
            identified by number.
        min_confidence: float in [0, 1]. Probability from which `classify` reports a result as
            confident.
        pooling: `"avg"` or `"max"`, over all positions.
        activation: `None` for logits, or `"softmax"`.
        dropout: float. Share of the pooled features dropped in training.

    Call: normalised images `(batch, height, width, 3)` to logits `(batch, num_classes)`. For raw
    images use `classify`.

    Raises:
        ValueError: for arguments that do not fit together.

    Example, a small untrained model (`from_preset` loads a trained one):
        >>> backbone = TiCBackbone(
        ...     hidden_dims=(16, 16, 32, 32), depths=(1, 1, 1, 1), num_heads=(1, 2, 2, 4),
        ...     kernel_size=3)
        >>> converter = TiCImageConverter(image_size=(64, 64))
        >>> classifier = TiCImageClassifier(
        ...     backbone, class_names=("fundus", "xray"),
        ...     preprocessor=TiCImageClassifierPreprocessor(converter))
        >>> tuple(classifier(np.zeros((1, 40, 70, 3), "float32")).shape)
        (1, 2)

    The examples of the methods continue from here.

    Source: TiC (arXiv 2310.04134), which names a classifier but does not describe its design.
    """

    backbone_cls = TiCBackbone
    preprocessor_cls = TiCImageClassifierPreprocessor

    def __init__(
        self,
        backbone,
        num_classes=None,
        preprocessor=None,
        class_names=None,
        min_confidence=0.0,
        pooling="avg",
        activation=None,
        dropout=0.0,
        **kwargs,
    ):
        names = class_names
        if names is not None:
            names = check_class_names("TiCImageClassifier", names, "class_names")
        num_classes = _number_of_classes(num_classes, names)
        if not 0 <= min_confidence <= 1:
            raise ValueError(
                f"Received min_confidence={min_confidence}; expected a number from 0 to 1."
            )
        if pooling not in POOLINGS:
            raise ValueError(f"Received pooling={pooling!r}; expected one of {tuple(POOLINGS)}.")
        if activation not in (None, "linear", "softmax"):
            raise ValueError(f"Received activation={activation!r}; expected None or 'softmax'.")
        if isinstance(backbone.input, dict):
            raise ValueError(
                f"Received a backbone with the inputs {', '.join(backbone.input)}; expected one "
                "that takes only images, such as a TiCBackbone with num_modalities=0."
            )

        # === Layers ===
        self.backbone = backbone
        self.preprocessor = checked_preprocessor(type(self), preprocessor)
        self.pooler = POOLINGS[pooling](data_format="channels_last", dtype="float32", name="pooler")
        self.output_norm = keras.layers.LayerNormalization(
            epsilon=1e-6, dtype="float32", name="output_norm"
        )
        self.output_dropout = keras.layers.Dropout(dropout, dtype="float32", name="output_dropout")
        self.output_dense = keras.layers.Dense(
            num_classes, activation=activation, dtype="float32", name="predictions"
        )

        # === Config ===
        # Before the model, since its default compilation reads the activation.
        self.num_classes = num_classes
        self.class_names = names
        self.min_confidence = float(min_confidence)
        self.pooling = pooling
        self.activation = activation
        self.dropout = dropout

        # === Functional Model ===
        x = self.output_norm(self.pooler(backbone(backbone.input)))
        # keras-hub's own ImageClassifier would build its head without the normalisation.
        Task.__init__(
            self,
            inputs=backbone.input,
            outputs=self.output_dense(self.output_dropout(x)),
            **kwargs,
        )

    @classmethod
    def from_preset(cls, preset, load_weights=True, **kwargs):
        """As keras-hub's; a new `num_classes` or `class_names` gives a new, untrained head."""
        if kwargs.get("class_names") is not None:
            kwargs.setdefault("num_classes", len(kwargs["class_names"]))
        elif "num_classes" in kwargs:
            kwargs["class_names"] = None
        classifier = super().from_preset(preset, load_weights, **kwargs)
        if "num_classes" in kwargs and classifier.output_dense.quantization_mode is not None:
            # A new head's weights would be untrained integers, which cannot be trained.
            refuse_quantized(classifier, "a new head", "and give that one the head")
        return classifier

    def get_config(self):
        return {
            **super().get_config(),
            "class_names": self.class_names,
            "min_confidence": self.min_confidence,
        }

    # === Images in, classes out ===

    def predict_class_probabilities(self, images):
        """Predict class probabilities for one preprocessed batch.

        Args:
            images: `(batch, height, width, 3)`, output of the preprocessor.

        Returns:
            `(batch, num_classes)` float32.

        Example:
            >>> classifier.predict_class_probabilities(np.zeros((1, 64, 64, 3), "float32")).shape
            (1, 2)
        """
        return self.to_probabilities(self.predict_prepared(images))

    def to_probabilities(self, outputs):
        """Convert the model's outputs to probabilities.

        Args:
            outputs: `(batch, num_classes)`: logits, or probabilities if the activation is
                `"softmax"`.

        Returns:
            NumPy float32 array of that shape.

        Example:
            >>> classifier.to_probabilities(np.zeros((1, 2))).tolist()
            [[0.5, 0.5]]
        """
        values = keras.ops.convert_to_numpy(outputs).astype("float32")
        if self.activation == "softmax":
            return values
        powers = np.exp(values - values.max(axis=-1, keepdims=True))
        return powers / powers.sum(axis=-1, keepdims=True)

    # === Training ===

    def compile(self, optimizer="auto", loss="auto", *, metrics="auto", **kwargs):
        """Configure training.

        Args:
            optimizer: `"auto"` (AdamW, 1e-3), a name or `keras.optimizers.Optimizer`.
            loss: `"auto"`: sparse categorical cross-entropy of the logits.
            metrics: `"auto"`: accuracy.
            **kwargs: see `keras.Model.compile`. On PyTorch, `jit_compile=True` is not supported.

        Example:
            >>> classifier.compile(optimizer="sgd")
            >>> classifier.loss.name
            'sparse_categorical_crossentropy'
        """
        check_jit_compile(kwargs.get("jit_compile"))
        if isinstance(optimizer, str) and optimizer == "auto":
            optimizer = keras.optimizers.AdamW(1e-3)
        if isinstance(metrics, str) and metrics == "auto":
            metrics = [keras.metrics.SparseCategoricalAccuracy(name="accuracy")]
        super().compile(optimizer=optimizer, loss=loss, metrics=metrics, **kwargs)

    def prepare_batch(self, x, y=None, sample_weight=None, class_weight=None):
        """Check and preprocess one raw batch, converting labels from names to numbers.

        Args:
            x: raw images, or a dict of them as `images`; see `fit`.
            y: labels `(batch,)`, numbers or names; or targets `(batch, num_classes)` for another
                loss, which pass unchanged; or `None`.
            sample_weight: `(batch,)` or `None`.
            class_weight: dict of a class's number or name to the weight of its images,
                multiplied with `sample_weight`; or `None`.

        Returns:
            `x`, `(x, y)` or `(x, y, sample_weight)`.

        Raises:
            InputError: for a label that is not a class, and for weights that do not fit.

        Example:
            >>> _, y = classifier.prepare_batch(np.zeros((2, 9, 9, 3), "uint8"), ["xray", "fundus"])
            >>> y.tolist()
            [1, 0]
        """
        x = named_inputs(x, self.raw_inputs)["images"]
        if self.preprocessor is not None:
            check_batch(x)
        if isinstance(y, tuple | list):
            y = _label_array(y)
        if y is not None and rank(y) == 1:
            (y,) = host_call(self.class_indices, (y,), (("int32", y.shape),))
        if y is not None and sample_weight is not None:
            (sample_weight,) = host_call(image_weights, (sample_weight,), (("float32", (None,)),))
        prepared = self.preprocess_samples(x, y, sample_weight)
        if class_weight is None or y is None:
            return prepared
        x, y, sample_weight = batch_parts(prepared)
        by_class = weights_by_class(class_weight, self.num_classes, self.class_names)
        (sample_weight,) = host_call(
            lambda y, *given: np.prod([by_class[_numbers_of_classes(y)], *given], axis=0),
            (y,) if sample_weight is None else (y, sample_weight),
            (("float32", (None,)),),
        )
        return x, y, sample_weight

    def class_indices(self, labels):
        """Convert names or numbers of classes to an int32 array of numbers.

        Raises:
            InputError: for an unknown name, or a number out of range.

        Example:
            >>> classifier.class_indices(["xray", "xray", "fundus"]).tolist()
            [1, 1, 0]
        """
        labels = as_array(labels)
        if labels.dtype.kind in "iuf":
            numbers = labels.astype("int32")
            wrong = labels[(numbers != labels) | (numbers < 0) | (numbers >= self.num_classes)]
        else:
            # TensorFlow returns strings as bytes.
            named = [one.decode() if isinstance(one, bytes) else str(one) for one in labels]
            known = {name: k for k, name in enumerate(self.class_names or ())}
            wrong = [name for name in named if name not in known]
            numbers = np.array([known.get(name, 0) for name in named], "int32")
        if len(wrong):
            names = f" ({', '.join(self.class_names)})" if self.class_names else ""
            raise InputError(
                f"Received the label {wrong[0]!s}, which is not a class of this model; expected "
                f"numbers from 0 to {self.num_classes - 1}{names}."
            )
        return numbers


def _label_array(labels):
    """Convert a list of labels, or of targets of another loss, to an array; it may hold tensors."""
    try:
        return np.array([one if isinstance(one, str | bytes) else as_array(one) for one in labels])
    except ValueError as error:
        raise InputError(
            "Received a list of labels that are not of one kind; expected a number or a name for "
            "each image."
        ) from error


def _numbers_of_classes(targets):
    """Return labels `(batch,)` or `(batch, 1)`, or the most probable of `(batch, num_classes)`."""
    if targets.ndim == 1:
        return targets
    return targets[:, 0].astype("int32") if targets.shape[1] == 1 else targets.argmax(axis=-1)


def _number_of_classes(num_classes, names):
    if names is None:
        if num_classes is None:
            raise ValueError("Received neither num_classes nor class_names; give one of them.")
        check_sizes("TiCImageClassifier", num_classes=num_classes)
        return int(num_classes)
    if len(set(names)) != len(names):
        raise ValueError(f"Received class_names={shown_value(names)}; expected names that differ.")
    if num_classes not in (None, len(names)):
        raise ValueError(
            f"Received num_classes={shown_value(num_classes)} and {len(names)} class_names; give "
            "as many names, or leave num_classes out."
        )
    return len(names)
