"""Change the colour of the light."""

import dataclasses

import numpy as np

from keras_espmedsam.training.data.appearance.appearance_transform import (
    AppearanceTransform,
    is_grey,
    to_bytes,
)


@dataclasses.dataclass(frozen=True)
class ChannelGain(AppearanceTransform):
    """Multiply red, green and blue by a random factor each, as another white balance does.

    Grey images stay as they are.

    Args:
        probability: float. How many of the images are changed.
        strength: float. Largest relative change of a channel either way.

    Call: see `AppearanceTransform`.

    Raises:
        InputError: for a value outside of its range.

    Example:
        >>> image = np.array([[[100, 200, 50]]], "uint8")
        >>> ChannelGain(probability=1, strength=0.2)(image, np.random.default_rng(0)).tolist()
        [[[91, 163, 40]]]
    """

    probability: float = 0.3
    strength: float = 0.15

    def change(self, image, rng, partner):
        gain = 1 + rng.uniform(-self.strength, self.strength, 3)
        if is_grey(image):
            return image
        table = to_bytes(np.arange(256)[:, None] * gain)
        return np.stack([table[:, c][image[..., c]] for c in range(3)], axis=-1)
