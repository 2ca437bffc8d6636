"""Random changes to an image and its mask, applied together."""

import dataclasses

import numpy as np
from PIL import Image, ImageEnhance

from keras_espmedsam.training.data.appearance.appearance_transform import AppearanceTransform
from keras_espmedsam.training.data.appearance.gaussian_blur import GaussianBlur
from keras_espmedsam.training.data.appearance.make_appearance import make_appearance
from keras_espmedsam.training.data.argument_ranges import (
    ABOVE_ZERO,
    FINITE,
    FLAG,
    ArgumentRange,
    arguments_of,
    check_ranges,
    number_between,
    pair_between,
)

# The mean colour of the normalisation: areas that move in from outside are neutral to the model.
FILL = (124, 116, 104)
_RANGES = {
    "right_angles": FLAG,
    "rotation": number_between(0, 180, "degrees from 0 to 180"),
    "stretch": number_between(0, FINITE, "a number from 0"),
    "scale": pair_between(ABOVE_ZERO, FINITE, "two numbers above 0, the smaller one first"),
    "appearance": ArgumentRange(
        "a tuple of AppearanceTransform",
        lambda value: (
            isinstance(value, tuple) and all(isinstance(one, AppearanceTransform) for one in value)
        ),
    ),
}


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """Flip, rotate, scale, shift and recolour an image; its mask moves with it.

    All geometric changes are one affine map with bilinear sampling, so that an image is resampled
    only once. Pillow does the work on the host: the same images for a seed on every backend, in a
    millisecond or two per image.

    Args:
        horizontal_flip, vertical_flip: float. Probability.
        right_angles: bool. Rotate by a random multiple of 90 degrees first.
        rotation: float. Largest rotation either way, in degrees.
        scale: (float, float). Range of the magnification.
        shift: float. Largest shift either way, as a fraction of the result's side.
        stretch: float. Largest relative change of the aspect ratio either way.
        brightness, contrast, saturation: float. Largest relative change either way.
        blur: float. Probability of `GaussianBlur` with its default `sigma`, up to 1.5 pixels.
        appearance: tuple of `AppearanceTransform`, applied after all this, in this order; those
            with `before_moving` before.

    Call: `augmentation(image, mask, rng)` with a uint8 image `(height, width, 3)`, a bool mask
    `(height, width[, channels])` (or None) and a `numpy.random.Generator`; returns a pair of the
    same types and size. With `canvas=(height, width)` the pair has that size: a random part of a
    scaled image that is larger, a random position for one that is smaller. One source pixel is
    then one pixel of the canvas, times `scale`. `partner` gives transforms of appearance another
    image; see `AppearanceTransform`.

    Raises:
        InputError: for an invalid probability, range, amount or transform.

    Example:
        >>> flip = Augmentation(horizontal_flip=1.0, rotation=0, scale=(1, 1), shift=0,
        ...                     stretch=0, brightness=0, contrast=0, saturation=0)
        >>> image = np.array([[255, 0], [255, 0]], "uint8")[..., None].repeat(3, axis=-1)
        >>> flip(image, image[..., 0] > 0, np.random.default_rng(0))[1].tolist()
        [[False, True], [False, True]]
        >>> flip(image, image[..., 0] > 0, np.random.default_rng(0), canvas=(1, 1))[0].shape
        (1, 1, 3)
    """

    horizontal_flip: float = 0.5
    vertical_flip: float = 0.0
    right_angles: bool = False
    rotation: float = 15.0
    scale: tuple = (0.8, 1.3)
    shift: float = 0.08
    stretch: float = 0.1
    brightness: float = 0.2
    contrast: float = 0.2
    saturation: float = 0.2
    blur: float = 0.0
    appearance: tuple = ()

    def __post_init__(self):
        check_ranges(self, _RANGES, "an augmentation")

    @classmethod
    def from_config(cls, config):
        """Build from a configuration; missing keys take their defaults.

        Args:
            config: dict of the arguments; `scale` may be a list of two numbers, and `appearance` is
                what `make_appearance` takes.

        Raises:
            InputError: for an unknown key or an invalid value.

        Example:
            >>> Augmentation.from_config({"rotation": 30, "scale": [0.9, 1.2]}).scale
            (0.9, 1.2)
        """
        arguments = arguments_of(config, cls, "an augmentation", {"rotation": 30})
        if not isinstance(config.get("appearance", ()), tuple):
            arguments["appearance"] = make_appearance(config["appearance"])
        return cls(**arguments)

    def __call__(self, image, mask, rng, canvas=None, partner=None):
        for transform in self.appearance:
            if transform.before_moving:
                image = _within_content(image, transform, rng, partner)
        matrix = self._matrix(image.shape[:2], canvas, rng)
        size = image.shape[:2] if canvas is None else canvas
        image = _transform(Image.fromarray(image), size, matrix, FILL)
        if mask is not None:
            mask = _moved_mask(mask, size, matrix)
        for enhance, amount in (
            (ImageEnhance.Brightness, self.brightness),
            (ImageEnhance.Contrast, self.contrast),
            (ImageEnhance.Color, self.saturation),
        ):
            if amount:
                image = enhance(image).enhance(1 + rng.uniform(-amount, amount))
        image = np.asarray(image)
        if self.blur:
            image = GaussianBlur(self.blur)(image, rng)
        for transform in self.appearance:
            if not transform.before_moving:
                image = transform(image, rng, partner)
        return image, mask

    def _matrix(self, size, canvas, rng):
        """Return the 3 x 3 map from result to source positions, in pixels."""
        height, width = size
        out_height, out_width = size if canvas is None else canvas
        angle = np.deg2rad(rng.uniform(-self.rotation, self.rotation))
        turns = 0
        # Without a canvas, only for squares: otherwise part of the image would leave the frame.
        if self.right_angles and (canvas is not None or height == width):
            turns = rng.integers(4)
            angle += turns * np.pi / 2
        scale = np.exp(rng.uniform(*np.log(self.scale)))
        stretch = np.exp(rng.uniform(-self.stretch, self.stretch) / 2)
        flips = [
            -1 if rng.random() < self.horizontal_flip else 1,
            -1 if rng.random() < self.vertical_flip else 1,
        ]
        shift = rng.uniform(-self.shift, self.shift, 2) * (out_width, out_height)
        if canvas is not None:
            moved = (width * scale * stretch, height * scale / stretch)
            room = np.abs(np.subtract(moved[::-1] if turns % 2 else moved, (out_width, out_height)))
            shift += rng.uniform(-0.5, 0.5, 2) * room
        cos, sin = np.cos(angle), np.sin(angle)
        to_centre = np.array(
            [[1, 0, -out_width / 2 - shift[0]], [0, 1, -out_height / 2 - shift[1]], [0, 0, 1]]
        )
        turn = np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]])
        size_and_flip = np.diag([flips[0] / (scale * stretch), flips[1] * stretch / scale, 1])
        back = np.array([[1, 0, width / 2], [0, 1, height / 2], [0, 0, 1]])
        return back @ size_and_flip @ turn @ to_centre


PLACED = Augmentation(
    horizontal_flip=0,
    rotation=0,
    scale=(1, 1),
    shift=0,
    stretch=0,
    brightness=0,
    contrast=0,
    saturation=0,
)
"""Places an image on a canvas without changing it."""


def content_size(image):
    """Return the height and width of an image without what fills up its canvas below and right.

    Args:
        image: uint8 `(height, width, 3)`.

    Example:
        >>> canvas = np.full((4, 5, 3), FILL, "uint8")
        >>> canvas[:2, :3] = 0
        >>> content_size(canvas)
        (2, 3)
    """
    filled = (image == np.array(FILL, "uint8")).all(axis=-1)
    rows, columns = (np.flatnonzero(~filled.all(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return image.shape[:2]
    return int(rows[-1]) + 1, int(columns[-1]) + 1


def _within_content(image, transform, rng, partner):
    """Apply a transform to what an image shows, not to what fills up its canvas."""
    height, width = content_size(image)
    changed = transform(np.ascontiguousarray(image[:height, :width]), rng, partner)
    if (height, width) == image.shape[:2]:
        return changed
    image = image.copy()
    image[:height, :width] = changed
    return image


def _moved_mask(mask, size, matrix):
    if mask.ndim == 3:
        moved = [_moved_mask(mask[..., c], size, matrix) for c in range(mask.shape[-1])]
        return np.stack(moved, axis=-1)
    if not mask.any():  # As of targets that are not labelled.
        return np.zeros(size, bool)
    moved = _transform(Image.fromarray(mask.astype("uint8") * 255), size, matrix, 0)
    return np.asarray(moved) >= 128


def _transform(image, size, matrix, fill):
    return image.transform(
        size[::-1],
        Image.Transform.AFFINE,
        tuple(matrix[:2].ravel()),
        resample=Image.Resampling.BILINEAR,
        fillcolor=fill,
    )
