"""Give an image the low-frequency amplitude of another one."""

import numpy as np
from PIL import Image
from scipy import fft


def mix_amplitude(image: np.ndarray, other: np.ndarray, share: float, band: float) -> np.ndarray:
    """Mix the amplitude of an image's low frequencies with that of another image.

    The phase, which holds the outlines, stays. In the lowest frequencies the amplitude is the
    brightness, the colour and how both change over the image.

    Args:
        image: uint8 `(height, width, channels)`.
        other: uint8 of any size, with as many channels; it is resized to that of `image`.
        share: how much of the other amplitude is taken, from 0 (none) to 1 (all).
        band: the highest frequency that is mixed, in cycles per pixel, along both axes; 0.5 is all
            of them. The amplitude of frequency 0, the mean, is always mixed.

    Returns:
        uint8 of the shape of `image`.

    Example:
        >>> image, other = np.full((8, 8, 3), 100, "uint8"), np.full((4, 4, 3), 200, "uint8")
        >>> mix_amplitude(image, other, share=0.5, band=0.1)[0, 0].tolist()
        [150, 150, 150]

    Source: arXiv 2004.05498, section 3.1 (there `share` is 1, and `band` is called beta);
        arXiv 2105.14612, section 3.2 (there `band` is 0.5, and `share` is drawn).
    """
    height, width = image.shape[:2]
    if other.shape[:2] != (height, width):
        resized = Image.fromarray(other).resize((width, height), Image.Resampling.BILINEAR)
        other = np.asarray(resized)
    spectrum, amplitude = (fft.rfft2(one.astype("float32"), axes=(0, 1)) for one in (image, other))
    # A real image's spectrum: columns of frequencies from 0, rows of both signs.
    rows = np.flatnonzero(np.abs(np.fft.fftfreq(height)) <= band)[:, None]
    columns = np.flatnonzero(np.fft.rfftfreq(width) <= band)
    own, taken = spectrum[rows, columns], np.abs(amplitude[rows, columns])
    size = np.abs(own)
    mixed = (1 - share) * size + share * taken
    # Of a frequency that the image does not have, the phase is 0.
    phase = np.where(size > 0, own / np.maximum(size, np.finfo("float32").tiny), 1)
    spectrum[rows, columns] = mixed * phase
    values = fft.irfft2(spectrum, s=(height, width), axes=(0, 1))
    return np.rint(np.clip(values, 0, 255)).astype("uint8")
