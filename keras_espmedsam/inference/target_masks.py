"""Turn the probability maps of an image's targets into masks and objects."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from keras_espmedsam.imaging.instances import split_instances
from keras_espmedsam.imaging.objects import numbered
from keras_espmedsam.imaging.placement import Placement
from keras_espmedsam.imaging.postprocessing import options_at_image_size, postprocess_mask
from keras_espmedsam.imaging.probability_calibration import calibrated
from keras_espmedsam.inference.chosen_targets import ChosenTargets

Planes = dict[str, np.ndarray]
"""A dict of channel name to its map, `(height, width)`."""


class ImageMaps:
    """The probability maps of one image, at its own size.

    With several targets, only those that are needed are kept, and those that are returned are
    written to one array.

    Args:
        chosen: the targets.
        values: what the model gives for the image, `(height, width)`, or
            `(height, width, channels)` for several targets, in the size of its canvas.
        place: the image's placement on the canvas.
        usual_place: that at the model's image size, in whose pixels areas are given, if the image
            was placed on a larger or smaller canvas.
    """

    def __init__(
        self,
        chosen: ChosenTargets,
        values: np.ndarray,
        place: Placement,
        usual_place: Placement | None = None,
    ):
        self.chosen = chosen
        self._usual_place = usual_place or place
        self._all: np.ndarray | None = None
        if values.ndim == 2:
            self.planes = {chosen.names[0]: place.backward(values)}
            return
        self._all = np.empty((len(chosen.names), *place.size), np.float32)
        self.planes = dict(zip(chosen.names, self._all, strict=True))
        for name, channel in chosen.channels.items():
            plane = place.backward(values[..., channel])
            if name in self.planes:
                self.planes[name][...] = plane
            else:  # A copy, so that the channels that are not needed can be freed.
                self.planes[name] = _own(plane)

    def add(self, other: "ImageMaps", mirrored: bool = False) -> None:
        """Add the maps of another pass, in place, because both may be large.

        Args:
            other: the maps of the same image and targets.
            mirrored: whether that pass saw the image mirrored left to right.
        """
        for name, plane in self.planes.items():
            if self._all is None:
                plane = self.planes[name] = _own(plane)
            plane += other.planes[name][:, ::-1] if mirrored else other.planes[name]

    def divide(self, passes: int) -> None:
        """Divide what was added up by the number of passes."""
        if passes > 1:
            for plane in self.planes.values():
                plane /= passes

    def results(
        self,
        thresholds: Mapping[str, float],
        rules: Mapping[str, Mapping[str, Any]],
        calibration: Mapping[str, Mapping[str, float]] | None = None,
        guaranteed: bool = False,
    ) -> tuple[np.ndarray, np.ndarray, Planes]:
        """Return the masks, the probabilities and the objects, and let go of all other maps.

        Args:
            thresholds: dict of target to threshold.
            rules: dict of target to its options of `checked_postprocessing`; empty for none.
            calibration: dict of target to its options of `checked_calibration`.
            guaranteed: whether the thresholds are those of a guarantee: for probabilities before
                calibration, and for masks that no other target and no rule changes.

        Returns:
            Masks (bool) and probabilities (float32), `(height, width)` or
            `(height, width, targets)`, and a dict of target to its label image.
        """
        chosen, planes = self.chosen, self.planes
        # The model's outputs are so, but resizing and averaging may round them apart.
        self._nest()
        if not guaranteed:
            self._calibrate(calibration)
        every = None if self._all is None else np.empty(self._all.shape, bool)
        out = {} if every is None else dict(zip(chosen.names, every, strict=True))
        scaled = {
            name: options_at_image_size(one, self._usual_place) for name, one in rules.items()
        }
        if guaranteed:
            chosen = dataclasses.replace(chosen, helpers=(), groups=(), nested=())
        masks, objects = target_masks(chosen, planes, thresholds, scaled, out)
        if guaranteed:
            self._calibrate(calibration)
        self.planes = {}
        if self._all is None or every is None:
            return masks[chosen.names[0]], planes[chosen.names[0]], objects
        return np.moveaxis(every, 0, -1), np.moveaxis(self._all, 0, -1), objects

    def _nest(self):
        for inner, outer in self.chosen.nested:
            np.minimum(self.planes[inner], self.planes[outer], out=self.planes[inner])

    def _calibrate(self, calibration):
        """Calibrate the probabilities, in place where they are written to one array."""
        for name, options in (calibration or {}).items():
            if name in self.planes:
                found = calibrated(self.planes[name], **options)
                if self._all is None:
                    self.planes[name] = found
                else:
                    self.planes[name][...] = found
        if calibration:
            self._nest()


def _own(plane):
    return np.require(plane, requirements=["OWNDATA", "WRITEABLE"])


def target_masks(
    chosen: ChosenTargets,
    planes: Planes,
    thresholds: Mapping[str, float],
    rules: Mapping[str, Mapping[str, Any]],
    out: Planes,
) -> tuple[Planes, Planes]:
    """Return the mask of each target, with exclusive groups apart and nested targets inside.

    Where several targets of a group reach their thresholds, the most probable one keeps the pixel;
    of equally probable ones, the first.

    Args:
        chosen: the targets.
        planes: dict of all `chosen.channels` to probabilities, float32 `(height, width)`.
        thresholds: dict of target to threshold.
        rules: dict of target to arguments of `postprocess_mask`; empty for none.
        out: dict of some of the targets to bool arrays that their masks are written to.

    Returns:
        dict of target to bool `(height, width)`, also of the helpers, and dict of target to label
        image, int32 `(height, width)`, of the returned targets whose objects are told apart.

    Example:
        >>> targets = kem.data.Targets({"eye": ("a", "v")}, exclusive={"eye": [("a", "v")]})
        >>> from keras_espmedsam.inference.chosen_targets import choose_targets
        >>> planes = {"a": np.float32([[0.4, 0.1]]), "v": np.float32([[0.5, 0.4]])}
        >>> masks, _ = target_masks(
        ...     choose_targets(targets, "eye"), planes, {"a": 0.3, "v": 0.3}, {}, {})
        >>> masks["a"].tolist(), masks["v"].tolist()
        ([[False, False]], [[True, True]])
    """
    masks = {
        name: np.greater_equal(planes[name], np.float32(thresholds[name]), out=out.get(name))
        for name in (*chosen.names, *chosen.helpers)
    }
    _constrain(chosen, masks, planes)
    ruled = [name for name in masks if rules.get(name)]
    objects = {
        name: _split(chosen, name, masks[name], planes, thresholds[name], rules.get(name, {}))
        for name in masks
        if name in chosen.kinds and (name in chosen.names or name in ruled)
    }
    for name in ruled:
        found = objects.get(name)
        masks[name][...] = postprocess_mask(masks[name], **rules[name]) if found is None else found
    if ruled:  # A filled hole may hold another target of the group.
        _constrain(chosen, masks, planes)
        for name, labels in objects.items():
            outside = (labels != 0) & ~masks[name]
            if outside.any():
                labels[outside] = 0
                objects[name] = numbered(labels)
    return masks, {name: objects[name] for name in chosen.names if name in objects}


def _constrain(chosen, masks, planes):
    """Set exclusive targets apart and cut nested ones off where they leave the outer one."""
    for group in chosen.groups:
        for number, one in enumerate(group):
            for other in group[number + 1 :]:
                both = masks[one] & masks[other]
                if both.any():
                    first = planes[one][both] >= planes[other][both]
                    masks[one][both], masks[other][both] = first, ~first
    for inner, outer in chosen.nested:
        masks[inner] &= masks[outer]


def _split(chosen, name, mask, planes, threshold, rules):
    """Split a target's mask into its objects."""
    probability = planes[name]
    related = {one for group in (*chosen.groups, *chosen.nested) for one in group}
    if name in related:  # Pixels that it lost to another target belong to no object.
        probability = np.where(mask, probability, np.float32(-1))
    hidden = planes.get(chosen.hidden.get(name))
    return split_instances(probability, hidden, chosen.kinds[name], threshold, **rules)
