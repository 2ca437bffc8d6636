"""Our two tasks: raw images in, masks or classes at the user's own terms out.

They bear the names of keras-hub's, since keras-hub writes the name of a task's base class into the
presets that it saves.
"""

import threading

import keras
import keras_hub

from keras_espmedsam._upward import upward
from keras_espmedsam.errors import InputError
from keras_espmedsam.imaging.intensity import AUTO
from keras_espmedsam.inference.image_classification import ClassifiesImages
from keras_espmedsam.inference.image_segmentation import SegmentsImages, sigmoid
from keras_espmedsam.models.folding import fold
from keras_espmedsam.models.input_size import follow_input_size
from keras_espmedsam.models.keras_export import exports_from_any_backend

_ONE_AT_A_TIME = threading.Lock()


@exports_from_any_backend
class _ImageTask:
    """What both tasks share."""

    @classmethod
    def from_config(cls, config):
        task = super().from_config(config)
        follow_input_size(task)
        return task

    @property
    def intensity(self):
        """What is black and white in an image that does not say it itself: the preset's word.

        Source: ours.
        """
        return AUTO if self.preprocessor is None else self.preprocessor.image_converter.intensity

    @property
    def image_converter(self):
        """What makes of any image what the model takes: the preprocessor's.

        Raises:
            InputError: for a task without a preprocessor.

        Source: ours.
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
        """The model's outputs for one batch that is ready, without preprocessing it again.

        One at a time, whatever the thread: on JAX Keras donates the model's state to each call,
        and a second thread would find it gone.

        Args:
            inputs: what the model takes, `(batch, height, width, 3)` or a dict with it.

        Returns:
            The model's outputs, as tensors or arrays.

        Source: ours.
        """
        with _ONE_AT_A_TIME:
            return keras.Model.predict_on_batch(self, inputs)

    def fold(self):
        """A copy for inference, with batch normalisation folded into the convolutions.

        Returns:
            A task of this class, not trainable, that gives the same to rounding (1e-4; of a
            quantised task some values are rounded otherwise, a few thousandths of a logit). It
            cannot be saved: save this one. Exporting this one folds by itself.

        Source: ours.
        """
        return fold(self)

    def export_for(self, format, path, size=None, *args, **options):
        """Write this model for another runtime, run it there and compare it with this one.

        Args:
            format: a name such as `"onnx"`; `keras_espmedsam.registries.export_formats` lists them.
            path: where to write.
            size: (height, width) in pixels, or `None` for the preprocessor's.
            *args, **options: as `keras_espmedsam.export.export_model` takes them: `modality` (of
                segmenters alone), `precision`, `flavor`, `batch_size`, `calibration` and others.

        Returns:
            dict: the description in the JSON file beside the artefact, and `path`.

        Raises:
            InputError: see `export_model`.

        Source: ours.
        """
        if args and not self.is_segmenter:
            args = (None, *args)  # It has no modality.
        return upward("export_model")(self, format, path, size, *args, **options)


class ImageSegmenter(_ImageTask, SegmentsImages, keras_hub.models.ImageSegmenter):
    """A task that gives masks; its `backbone` knows `modalities`.

    Source: keras-hub's `ImageSegmenter`; images of any kind and size are ours.
    """

    is_segmenter = True
    raw_inputs = ("images", "modalities")

    @property
    def modalities(self):
        """Tuple of the modalities' names; an index into it is a modality's number.

        Source: ESP-MedSAM (arXiv 2407.14153), the order of the released queries.
        """
        return self.backbone.modalities

    def predict_probabilities(self, images, indices):
        """Of normalised images of one size, in one batch, and without anything else.

        Args:
            images: `(batch, height, width, 3)`, as the preprocessor gives them.
            indices: `(batch,)` int32, modality indices.

        Returns:
            `(batch, height, width)` float32.

        Source: ours.
        """
        outputs = self.predict_prepared(self.model_inputs(images, indices))
        return sigmoid(keras.ops.convert_to_numpy(outputs["masks"])[..., 0])

    def model_inputs(self, images, indices):
        """The dict that the model takes, with the modalities where they are an input.

        Source: ours.
        """
        inputs = {"images": images}
        if self.takes_modalities:
            inputs["modalities"] = indices
        return inputs


class ImageClassifier(_ImageTask, ClassifiesImages, keras_hub.models.ImageClassifier):
    """A task that gives an image's class, and how sure that is.

    Source: keras-hub's `ImageClassifier`; images of any kind and size are ours.
    """

    is_segmenter = False
    takes_modalities = False
    raw_inputs = ("images",)
