"""Classify images of any size with a model."""

from collections.abc import Callable
from typing import Any

import numpy as np

from keras_espmedsam.imaging.arrays import ImageLike
from keras_espmedsam.imaging.content import is_blank
from keras_espmedsam.imaging.intensity import Intensity, parse_intensity
from keras_espmedsam.imaging.raw_batch import image_rows, read_row
from keras_espmedsam.inference.image_batches import check_batch_size, filled_up, image_batches


class ClassifiesImages:
    """A mixin that adds `classify` to a model, whichever runtime it uses.

    A subclass has:

    - `num_classes`, and `class_names`, a tuple of str or `None`;
    - `min_confidence`: float in [0, 1];
    - `image_converter`: `HostImageConverter`, which turns any image into the model's input;
    - `predict_class_probabilities(images)`: from converted images `(batch, height, width, 3)` to
      `(batch, num_classes)` float32, all NumPy.
    """

    num_classes: int
    class_names: tuple[str, ...] | None
    min_confidence: float
    image_converter: Any  # Its class is in models, which this package cannot import.
    predict_class_probabilities: Callable[[np.ndarray], np.ndarray]

    def classify(
        self, images: ImageLike, batch_size: int = 32, intensity: Intensity | None = None
    ) -> dict[str, Any]:
        """Classify images.

        Args:
            images: one image or several, as for `ESPMedSAMImageSegmenter.segment`.
            batch_size: int. Images per forward pass.
            intensity: the values shown as black and white: `"auto"`, `"full"` or a pair of values;
                see `keras_espmedsam.data.read_images`. `None` uses the preset's choice.

        Returns:
            dict of `class_names`, the name of the most probable class (its number as a string if
            the model has no names); `confidences`, its probability; `probabilities`,
            `(num_classes,)` float32; `blank`, whether the image has nearly the same brightness
            everywhere; and `confident`, whether the image is not blank and the confidence reaches
            `min_confidence`. For several images, each is a list.

        Raises:
            InputError: for images or a batch size that cannot be used.

        Example:
            >>> classifier = kem.models.TiCImageClassifier.from_preset("tic_tiny_modality")
            >>> found = classifier.classify([np.zeros((40, 40), "uint8")])
            >>> found["blank"], found["confident"]
            ([True], [False])

        Source: Hendrycks and Gimpel (arXiv 1610.02136), for the probability of the best class as
        the confidence.
        """
        converter = self.image_converter
        check_batch_size(batch_size)
        images, several = image_rows(images)
        intensity = parse_intensity(intensity)
        probabilities: list[Any] = [None] * len(images)  # Filled in below.
        blank = [False] * len(images)
        for rows, size in image_batches([converter] * len(images), images, batch_size):
            inputs = []
            for i in rows:
                image = read_row(converter, images, i, intensity)
                blank[i] = is_blank(image)
                inputs.append(converter.convert(image))
            found = self.predict_class_probabilities(np.stack(filled_up(inputs, size)))
            for i, values in zip(rows, found, strict=False):
                probabilities[i] = values
        best = [int(values.argmax()) for values in probabilities]
        names = self.class_names or tuple(str(k) for k in range(self.num_classes))
        results = {
            "class_names": [names[k] for k in best],
            "confidences": [values[k] for values, k in zip(probabilities, best, strict=True)],
            "probabilities": probabilities,
            "blank": blank,
        }
        least = np.float32(self.min_confidence)
        results["confident"] = [
            bool(value >= least) and not empty
            for value, empty in zip(results["confidences"], blank, strict=True)
        ]
        return results if several else {name: value[0] for name, value in results.items()}
