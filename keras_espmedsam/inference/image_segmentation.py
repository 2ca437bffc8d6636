"""Segment images of any size with a Keras model or an exported one."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from keras_espmedsam.errors import InputError, warn_of_input
from keras_espmedsam.imaging.arrays import ImageLike
from keras_espmedsam.imaging.content import is_blank
from keras_espmedsam.imaging.finite import all_finite
from keras_espmedsam.imaging.intensity import Intensity, parse_intensity
from keras_espmedsam.imaging.raw_batch import image_rows, read_row
from keras_espmedsam.inference.auto_modality import recognize_missing
from keras_espmedsam.inference.chosen_targets import (
    DEFAULT_THRESHOLD,
    Threshold,
    check_used,
    checked_targets,
    choose_targets,
    target_set_of,
    thresholds_of,
)
from keras_espmedsam.inference.guarantees import check_guarantee, guaranteed_thresholds
from keras_espmedsam.inference.image_batches import check_batch_size, filled_up, image_batches
from keras_espmedsam.inference.modalities import modality_indices
from keras_espmedsam.inference.quality import predicted_quality
from keras_espmedsam.inference.scope import is_in_scope
from keras_espmedsam.inference.target_masks import ImageMaps
from keras_espmedsam.inference.test_time import (
    OWN_SIZE,
    Scales,
    averaged_maps,
    checked_scales,
    converter_of,
    scaled_converters,
)


class SegmentsImages:
    """A mixin that adds `segment` to a model, whichever runtime it uses.

    A subclass has:

    - `modalities`: tuple of str;
    - `image_converter`: `HostImageConverter`, which turns any image into the model's input;
    - `predict_probabilities(images, indices)`: from converted images `(batch, height, width, 3)`
      and modality indices `(batch,)`, int32, to `(batch, height, width)` float32, all NumPy;
      or `(batch, height, width, channels)` for several targets.

    It may have:

    - `takes_any_size`: bool, whether `predict_probabilities` takes images of other sizes than the
      converter's, too;
    - `target_set`: `keras_espmedsam.data.Targets`, if it has several targets, or names for them;
    - `postprocessing`: dict of modality to dict of target to arguments of
      `keras_espmedsam.imaging.postprocessing.postprocess_mask`;
    - `probability_calibration`: dict of modality to dict of target to arguments of
      `keras_espmedsam.imaging.probability_calibration.calibrated`;
    - `guarantees`: see `keras_espmedsam.inference.guarantees.checked_guarantees`;
    - `quality`: dict of modality to the targets whose quality it predicts;
    - `scope`: a container of the modalities of which it tells whether an image is in scope;
    - with one of these two `predict_outputs(images, indices)`: a dict of `probabilities`, as
      `predict_probabilities` returns them, and of the predicted Dice as `quality`,
      `(batch, channels)`, and of `scope_score`, `(batch,)`, as far as it predicts them.

    Example:
        >>> class Bright(SegmentsImages):
        ...     modalities = ("fundus",)
        ...     image_converter = kem.models.ESPMedSAMImageConverter(image_size=(32, 32))
        ...     def predict_probabilities(self, images, indices):
        ...         return (images[..., 0] > 0).astype("float32")
        >>> int(Bright().segment(np.eye(32, dtype="uint8") * 255)["masks"].sum())
        32
    """

    modalities: tuple[str, ...]
    image_converter: Any  # Its class is in models, which this package cannot import.
    predict_probabilities: Callable[[np.ndarray, np.ndarray], np.ndarray]
    predict_outputs: Callable[[np.ndarray, np.ndarray], dict[str, np.ndarray]]

    @property
    def takes_modalities(self) -> bool:
        """Whether the modality is an input, because the model has several."""
        return len(self.modalities) > 1

    def modality_indices(self, modalities: Any, count: int) -> np.ndarray:
        """Convert names or indices to an int32 array with one index per image.

        Raises:
            InputError: for an unknown name, an index out of range, or a wrong count.
        """
        return modality_indices(self.modalities, modalities, count)

    def segment(
        self,
        images: ImageLike,
        modalities: Any = None,
        threshold: Threshold = DEFAULT_THRESHOLD,
        batch_size: int = 8,
        recognizer: Any = None,
        mirror: bool = False,
        intensity: Intensity | None = None,
        targets: str | Sequence[str] | None = None,
        postprocess: bool = True,
        guarantee: str | None = None,
        scales: Scales | None = None,
    ) -> dict[str, Any]:
        """Segment images and return each mask at the image's own size.

        Args:
            images: one image, `(height, width)` or `(height, width, channels)` with grey, RGB
                or RGBA values in uint8, uint16 or float in [0, 1], as an array, a Pillow image
                or a tensor of any backend; or several: a list, tuple or object array of them, of
                any sizes, or one array or tensor `(batch, height, width, channels)`.
            modalities: one name or index for all, or a list, array or tensor with one per
                image; not needed if the model has one modality. `"auto"`, for all or in the list,
                lets a classifier recognise it.
            threshold: float in [0, 1]. Pixels with at least this probability are foreground. A
                dict of target to float gives each its own; 0.5 for those that are not in it.
            batch_size: int. Images per forward pass.
            recognizer: `TiCImageClassifier` for `"auto"`, or the name or folder of its preset;
                `None` is `tic_tiny_modality`. A built-in preset is loaded once, a folder every
                time.
            mirror: bool. Average the probabilities with those of the mirrored image (test-time
                augmentation); takes twice as long.
            intensity: the values shown as black and white: `"auto"`, `"full"` or a pair of values;
                see `keras_espmedsam.data.read_images`. `None` uses the preset's choice.
            targets: a name, or a list of names: only these targets, in this order. `None` for all
                that the modality has.
            postprocess: bool. Whether small objects are removed and holes filled in the masks, if
                the model's `postprocessing` says so.
            guarantee: `"recall"`, `"false_discovery_rate"` or `"dice"`: make the masks with the
                thresholds for which the model's `guarantees` hold. `postprocess` then does
                nothing, and masks of targets may overlap or leave the one
                that contains them, since any change could break what is guaranteed; another
                `threshold`, `mirror` and `scales` are refused.
            scales: a factor of the model's image size, or several, such as `(0.75, 1, 1.25)`:
                average the probabilities of the image at each of these sizes; sides are rounded to
                what the model can take. With `mirror`, each size also sees the mirrored image.
                `None` is 1. Others need a model that takes images of any size. `quality` is then
                the mean over all passes.

        Returns:
            dict of `masks` (bool) and `probabilities` (float32), each `(height, width)` if the
            image's modality has one target or one was given by its name, and
            `(height, width, targets)` if the modality has several or a list was given;
            `modalities`, the modality's name; `confidences`, the classifier's confidence in it
            (float), or `None` if you gave it; `blank`, whether the image has nearly the same
            brightness everywhere; `targets`, a tuple of the names of the masks; `instances`,
            a dict of target to its label image, int32 `(height, width)`, 0 for the background and
            a number for each object, for targets whose objects are told apart; `quality`, a
            dict of target to the Dice that its mask at a threshold of 0.5 is predicted to have, for
            targets of which the model predicts it (none, for presets without `quality`);
            `scope_score`, how unlike the image is to those of its modality that the model was
            fitted to (float), and `in_scope`, whether that is 1 or less: both `None` for a modality
            of which the model does not tell it, and with `scales` without 1, the size that it was
            fitted at. For several images, each is a
            list. Without `guarantee`, masks of targets that exclude each other never overlap, and a
            target that is contained in another one never leaves it.

        Warns:
            InputWarning: for images with nearly the same brightness everywhere, and for uint16
                images whose black and white are estimated from their values.

        Raises:
            InputError: for images, modalities, targets, a threshold or scales that cannot be used,
                before anything is segmented. With `"auto"`, also for an image whose modality is too
                uncertain for the classifier's preset or unknown to this model; the message gives
                its number and the candidates. To skip such images, call the classifier's
                `classify` first.

        Example:
            >>> segmenter = kem.models.ESPMedSAMImageSegmenter.from_preset("espmedsam_nano_256")
            >>> image = np.zeros((300, 400, 3), "uint8")
            >>> result = segmenter.segment(image, "fundus", targets="vessels")
            >>> result["masks"].shape, result["modalities"], result["confidences"]
            ((300, 400), 'fundus', None)
            >>> result["targets"], result["instances"]
            (('vessels',), {})
        """
        converter = self.image_converter
        target_set = target_set_of(self)
        thresholds = thresholds_of(threshold, target_set)
        wanted = checked_targets(targets, target_set)
        check_batch_size(batch_size)
        each_scale = checked_scales(scales)
        check_guarantee(guarantee, mirror, each_scale != OWN_SIZE, thresholds)
        images, several = image_rows(images)
        intensity = parse_intensity(intensity)
        indices = modality_indices(self.modalities, modalities, len(images), auto=True)
        confidences = recognize_missing(
            indices, images, self.modalities, recognizer, batch_size, intensity
        )
        names = [self.modalities[i] for i in indices]
        check_used(wanted, target_set, names)
        chosen = {name: choose_targets(target_set, name, wanted) for name in dict.fromkeys(names)}
        channels = target_set.num_channels
        cleaned = postprocess and guarantee is None
        rules = getattr(self, "postprocessing", None) if cleaned else None
        calibration = getattr(self, "probability_calibration", None) or {}
        thresholds_by_name = {
            name: thresholds
            if guarantee is None
            else guaranteed_thresholds(self, guarantee, name, one.names)
            for name, one in chosen.items()
        }
        found: list[Any] = [None] * len(images)  # Filled in below.
        blank = [False] * len(images)
        able = getattr(self, "quality", None) or {}
        quality: list[dict[str, float]] = [{}] * len(images)
        scoped = getattr(self, "scope", None) or ()
        scores: list[float | None] = [None] * len(images)
        converters = {name: converter_of(converter, name) for name in chosen}
        passes = {
            name: scaled_converters(self, one, each_scale) for name, one in converters.items()
        }
        every = [converters[name] for name in names]
        for batch, size in image_batches(every, images, batch_size):
            converter = every[batch[0]]
            rows = [read_row(converter, images, i, intensity) for i in batch]
            for i, image in zip(batch, rows, strict=True):
                blank[i] = is_blank(image)
            of = [chosen[names[i]] for i in batch]
            predict = functools.partial(
                self._at_own_size,
                usual=converter,
                indices=indices[batch],
                size=size,
                chosen=of,
                channels=channels,
            )
            maps, further = averaged_maps(
                predict, passes[names[batch[0]]], rows, mirror, usual=converter
            )
            for row, (i, one) in enumerate(zip(batch, maps, strict=True)):
                if able:
                    known = predicted_quality(able, target_set, names[i], further["quality"][row])
                    own = chosen[names[i]].names
                    quality[i] = {name: known[name] for name in own if name in known}
                if names[i] in scoped and "scope_score" in further:
                    scores[i] = float(further["scope_score"][row])
                found[i] = one.results(
                    thresholds_by_name[names[i]],
                    (rules or {}).get(names[i], {}),
                    calibration.get(names[i]),
                    guarantee is not None,
                )
        masks, probabilities, instances = ([one[k] for one in found] for k in range(3))
        several_targets = [
            not isinstance(targets, str) and (wanted is not None or len(chosen[name].names) > 1)
            for name in names
        ]
        masks, probabilities = (
            [_with_targets(array, axis) for array, axis in zip(maps, several_targets, strict=True)]
            for maps in (masks, probabilities)
        )
        result = {
            "masks": masks,
            "probabilities": probabilities,
            "modalities": names,
            "confidences": confidences,
            "blank": blank,
            "targets": [chosen[name].names for name in names],
            "instances": instances,
            "quality": quality,
            "scope_score": scores,
            "in_scope": [is_in_scope(score) for score in scores],
        }
        _warn_of_blank(blank)
        return result if several else {name: values[0] for name, values in result.items()}

    def _at_own_size(self, converter, images, usual, indices, size, chosen, channels):
        """Predict the maps of one batch of RGB images, each at its own size, and what else is."""
        placed = [converter.convert(image) for image in images]
        batch = np.stack(filled_up(placed, size)), np.array(filled_up(list(indices), size))
        further: dict[str, np.ndarray] = {}
        if getattr(self, "quality", None) or getattr(self, "scope", None):
            further = dict(self.predict_outputs(*batch))
            values = further.pop("probabilities")
        else:
            values = self.predict_probabilities(*batch)
        # NaN is below every threshold, so the masks would be empty as if nothing was found.
        if not all_finite(values):
            raise InputError(
                "The model gives NaN or infinite values for an image; its weights are damaged, or "
                "too large for its precision. Use earlier weights, or float32."
            )
        if channels > 1 and values.shape[3:] != (channels,):
            raise InputError(
                f"The model gives probabilities of shape {values.shape}; expected {channels} "
                "channels, for the targets of its target_set."
            )
        maps = [
            ImageMaps(one, value, converter.place(image.shape[:2]), usual.place(image.shape[:2]))
            for image, value, one in zip(images, values[: len(images)], chosen, strict=True)
        ]
        return maps, {name: own[: len(images)] for name, own in further.items()}


def _with_targets(array, axis):
    """Return masks with or without an axis of targets."""
    if axis:
        return array if array.ndim == 3 else array[..., None]
    return array[..., 0] if array.ndim == 3 else array


def _warn_of_blank(blank):
    numbers = [i for i, one in enumerate(blank) if one]
    if numbers:
        which = "The image has" if len(blank) == 1 else f"{_listed(numbers)} have"
        warn_of_input(
            f"{which} nearly the same brightness everywhere; a mask of it means nothing.",
            stacklevel=3,
        )


def _listed(numbers, most=3):
    named = ", ".join(f"images[{i}]" for i in numbers[:most])
    return named + (f" and {len(numbers) - most} more" if len(numbers) > most else "")


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Convert NumPy logits to probabilities in float32, without overflow.

    Example:
        >>> sigmoid(np.zeros(1)).tolist()
        [0.5]
    """
    return 0.5 * (1 + np.tanh(0.5 * logits.astype("float32")))
