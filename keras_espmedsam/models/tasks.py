"""The two tasks: segmentation and classification of raw images.

They have the names of keras-hub's tasks, since keras-hub writes the name of a task's base class
into the presets that it saves.
"""

import contextlib
import threading

import keras
import keras_hub

from keras_espmedsam._shown import shown_value
from keras_espmedsam._upward import upward
from keras_espmedsam.errors import InputError
from keras_espmedsam.imaging.intensity import AUTO
from keras_espmedsam.inference.image_classification import ClassifiesImages
from keras_espmedsam.inference.image_segmentation import SegmentsImages, sigmoid
from keras_espmedsam.inference.scope import FURTHER_OUTPUTS
from keras_espmedsam.models.batch_prediction import compiled_alone
from keras_espmedsam.models.folding import fold
from keras_espmedsam.models.input_size import follow_input_size, takes_any_size
from keras_espmedsam.models.keras_export import exports_from_any_backend
from keras_espmedsam.ops.mask_statistics import mask_statistics

_ONE_AT_A_TIME = threading.Lock()


def checked_preprocessor(task_class, preprocessor):
    """Return a preprocessor that has an image converter, or `None`.

    Args:
        task_class: the class of the task being built.
        preprocessor: anything; a damaged preset may hold any value.

    Raises:
        InputError: for anything else.
    """
    if preprocessor is not None and getattr(preprocessor, "image_converter", None) is None:
        raise InputError(
            f"{task_class.__name__} received preprocessor={shown_value(preprocessor)}; expected "
            f"{task_class.preprocessor_cls.__name__}, or None."
        )
    return preprocessor


@exports_from_any_backend
class _ImageTask:
    """Methods that both tasks share."""

    is_folded = False

    def save(self, filepath, *args, **kwargs):
        """Write a `.keras` file; see `keras.Model.save`.

        Raises:
            InputError: for a folded model, whose file could not be loaded.
        """
        if self.is_folded:
            raise InputError(
                "This model is folded, for inference only, and cannot be built again; save or "
                "change the model that it was made from."
            )
        return super().save(filepath, *args, **kwargs)

    @classmethod
    def from_config(cls, config):
        task = super().from_config(config)
        follow_input_size(task)
        return task

    def loss_scope(self, x):
        """Return a context in which the loss of one prepared batch is computed."""
        return contextlib.nullcontext()

    def metric_targets(self, x, y):
        """Return the targets of one prepared batch that metrics compare with the outputs."""
        return y

    def trained_outputs(self, outputs):
        """Return those of the model's outputs that losses and metrics see."""
        return outputs

    def weights_change(self):
        """Called before the weights are trained or quantised."""

    def training_begins(self):
        """Called before training; a task may know which of its weights are trained."""
        self.weights_change()

    def check_arrays(self, x, y):
        """Refuse what is wrong in the rows of all images and targets, before the first batch."""

    @property
    def intensity(self):
        """The preset's rule for black and white, for images that do not state their own."""
        return AUTO if self.preprocessor is None else self.preprocessor.image_converter.intensity

    @property
    def image_converter(self):
        """The preprocessor's image converter, which makes model inputs of any image.

        Raises:
            InputError: for a task without a preprocessor.
        """
        if self.preprocessor is None:
            what, verb = (
                ("segmenter", "segment") if self.is_segmenter else ("classifier", "classify")
            )
            raise InputError(
                f"This {what} has no preprocessor, which {verb}() needs; build it with "
                f"{self.preprocessor_cls.__name__}, or load it with from_preset."
            )
        return self.preprocessor.image_converter

    def predict_prepared(self, inputs):
        """Return the model's outputs for one preprocessed batch.

        Calls run one at a time, also from several threads: on JAX, Keras donates the model's
        state to each call, and a second thread would find it deleted.

        Args:
            inputs: inputs of the model, `(batch, height, width, 3)` or a dict with it.

        Returns:
            The model's outputs, as tensors or arrays.
        """
        with _ONE_AT_A_TIME, compiled_alone(self):
            return keras.Model.predict_on_batch(self, inputs)

    def fold(self):
        """Return a copy for inference, with batch normalisation folded into the convolutions.

        Returns:
            A task of this class, not trainable, with the same outputs up to rounding (1e-4; a few
            thousandths of a logit for a quantised task). It cannot be saved or changed, as by
            `specialize`: do that with this one. Exporting this one folds it automatically.
        """
        return fold(self)

    def export_for(self, format, path, size=None, *args, **options):
        """Write this model for another runtime, run it there and compare its outputs.

        Args:
            format: a name such as `"onnx"`; `keras_espmedsam.registries.export_formats` lists them.
            path: where to write.
            size: (height, width) in pixels, or `None` for the preprocessor's.
            *args, **options: see `keras_espmedsam.export.export_model`: `modality` (segmenters
                only), `precision`, `flavor`, `batch_size`, `calibration` and others.

        Returns:
            dict: the description in the JSON file next to the exported file, and its `path`.

        Raises:
            InputError: see `export_model`.
        """
        if args and not self.is_segmenter:
            args = (None, *args)  # A classifier has no modality.
        return upward("export_model")(self, format, path, size, *args, **options)


class ImageSegmenter(_ImageTask, SegmentsImages, keras_hub.models.ImageSegmenter):
    """A task that predicts masks; its `backbone` has `modalities`.

    Source: keras-hub's `ImageSegmenter`, extended to images of any kind and size.
    """

    is_segmenter = True
    raw_inputs = ("images", "modalities")

    @property
    def modalities(self):
        """Names of the modalities; an index into this tuple is a modality's number.

        Source: ESP-MedSAM (arXiv 2407.14153), the order of the released queries.
        """
        return self.backbone.modalities

    @property
    def takes_any_size(self):
        """Whether the model takes images of any size, so that `segment` has `scales`."""
        return takes_any_size(self)

    def predict_probabilities(self, images, indices):
        """Predict probabilities for one preprocessed batch.

        Args:
            images: `(batch, height, width, 3)`, output of the preprocessor.
            indices: `(batch,)` int32, modality indices.

        Returns:
            `(batch, height, width)` float32, or `(batch, height, width, channels)` for a model
            with several targets; channels beyond those of a sample's own modality are 0.
        """
        return _probabilities(self.predict_prepared(self.model_inputs(images, indices)))

    def predict_outputs(self, images, indices):
        """Like `predict_probabilities`, with what the model says about its masks and the images.

        Returns:
            dict of `probabilities`; for a model with `quality`, also `quality`, the predicted Dice,
            float32 `(batch, channels)`; and for one with `scope`, `scope_score`, `(batch,)`.
        """
        outputs = self.predict_prepared(self.model_inputs(images, indices))
        further = {
            name: keras.ops.convert_to_numpy(outputs[name])
            for name in FURTHER_OUTPUTS
            if name in outputs
        }
        return {"probabilities": _probabilities(outputs), **further}

    def predict_with_statistics(self, images, indices):
        """Like `predict_probabilities`, with what the quality of each mask is predicted from.

        Returns:
            The probabilities, and float32 `(batch, channels, 5)`; see
            `keras_espmedsam.ops.mask_statistics`.
        """
        outputs = self.predict_prepared(self.model_inputs(images, indices))
        logits = keras.ops.convert_to_tensor(outputs["masks"])
        return _probabilities(outputs), keras.ops.convert_to_numpy(mask_statistics(logits))

    def trained_outputs(self, outputs):
        """Return the outputs without the predicted quality and the scope, which are not trained."""
        if not isinstance(outputs, dict):  # Of a program that computes a loss by itself.
            return outputs
        return {name: value for name, value in outputs.items() if name not in FURTHER_OUTPUTS}

    def model_inputs(self, images, indices):
        """Return the model's input dict, with the modalities if they are an input."""
        inputs = {"images": images}
        if self.takes_modalities:
            inputs["modalities"] = indices
        return inputs


def _probabilities(outputs):
    logits = keras.ops.convert_to_numpy(outputs["masks"])
    return sigmoid(logits[..., 0] if logits.shape[-1] == 1 else logits)


class ImageClassifier(_ImageTask, ClassifiesImages, keras_hub.models.ImageClassifier):
    """A task that predicts an image's class and its confidence.

    Source: keras-hub's `ImageClassifier`, extended to images of any kind and size.
    """

    is_segmenter = False
    takes_modalities = False
    raw_inputs = ("images",)
