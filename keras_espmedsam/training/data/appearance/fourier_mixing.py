"""Give an image the look of another training image."""

import dataclasses
from typing import ClassVar

import numpy as np

from keras_espmedsam.imaging.amplitude_mixing import mix_amplitude
from keras_espmedsam.training.data.appearance.appearance_transform import (
    AppearanceTransform,
    is_grey,
)
from keras_espmedsam.training.data.argument_ranges import ArgumentRange, is_number


@dataclasses.dataclass(frozen=True)
class FourierMixing(AppearanceTransform):
    """Mix the low-frequency amplitude with that of another training image of the modality.

    The other image is of another data set, if the modality has several: an image then looks as if
    another camera had taken it, and keeps its outlines. Where there is no other image, it stays as
    it is. Grey images stay grey.

    Args:
        probability: float. How many of the images are changed.
        strength: float. Largest share of the other amplitude, from 0 to 1; it is drawn from 0 to
            this.
        band: float. The highest frequency that is mixed, in cycles per pixel, above 0 and up to
            0.5: the low ones are colour and light, high ones texture. The larger it is, the more
            of the other image shines through as stripes.

    Call: see `AppearanceTransform`.

    Raises:
        InputError: for a value outside of its range.

    Example:
        >>> image, other = np.full((8, 8, 3), 100, "uint8"), np.full((4, 4, 3), 200, "uint8")
        >>> mixing = FourierMixing(probability=1)
        >>> mixing(image, np.random.default_rng(0), lambda rng: other)[0, 0].tolist()
        [127, 127, 127]

    Source: arXiv 2004.05498 (FDA) takes the whole amplitude of a low band, arXiv 2105.14612 (FACT)
        a random share of the amplitude of all frequencies; this is a random share of a low band.
    """

    probability: float = 0.5
    strength: float = 1.0
    band: float = 0.02

    before_moving: ClassVar[bool] = True
    ranges: ClassVar[dict] = {
        "band": ArgumentRange(
            "a number above 0 and up to 0.5", lambda value: is_number(value) and 0 < value <= 0.5
        )
    }

    def change(self, image, rng, partner):
        share = rng.uniform(0, self.strength)
        other = None if partner is None else partner(rng)
        if other is None:
            return image
        if is_grey(image) and not is_grey(other):
            mean = np.rint(other.mean(axis=-1, keepdims=True)).astype("uint8")
            other = np.broadcast_to(mean, other.shape)
        return mix_amplitude(image, other, share, self.band)
