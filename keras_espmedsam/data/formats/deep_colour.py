"""Read colour PNG and PPM files with 16 bits per value; Pillow keeps only the upper eight.

If a camera uses only 10 or 12 of the 16 bits, the upper eight are nearly black.
"""

from pathlib import Path

import numpy as np
from PIL import Image

from keras_espmedsam.imaging.stored_values import Meaning

# A pixel of 16-bit grey and alpha, as four values of 8 bits.
_BYTES = {"LA;16B": "RGBA"}


def has_deep_colour(image: Image.Image) -> bool:
    """Return whether an opened but undecoded Pillow image is stored with 16 bits per colour.

    Example:
        >>> has_deep_colour(Image.new("RGB", (3, 2)))
        False
    """
    if image.format == "PPM":
        return (
            image.mode == "RGB" and _codec(image) in ("ppm", "ppm_plain") and _largest(image) > 255
        )
    return (
        image.format == "PNG"
        and getattr(image, "n_frames", 1) == 1
        and str(_arguments(image)) in ("RGB;16B", "RGBA;16B", "LA;16B")
    )


def read_deep_colour(path: Path) -> tuple[np.ndarray, Meaning]:
    """Read the values of a file for which `has_deep_colour` is true.

    Args:
        path: the file.

    Returns:
        uint16 `(height, width, 3)`, or `(height, width)` for grey with alpha; and their `Meaning`,
        which gives the largest possible value.
    """
    with Image.open(path, formats=("PNG", "PPM")) as image:
        if image.format == "PPM":
            return _read_ppm(path, image)
        arguments = str(_arguments(image))
        if arguments in _BYTES:
            pixels = _decoded(image, _BYTES[arguments]).astype(np.uint16)
            return pixels[..., 0] << 8 | pixels[..., 1], Meaning()
        upper = _decoded(image, arguments).astype(np.uint16)
    with Image.open(path, formats=("PNG",)) as image:
        # Decoded as little-endian, Pillow keeps the other byte of each value.
        lower = _decoded(image, arguments.replace("16B", "16L"))
    return (upper << 8 | lower)[..., :3], Meaning()


def _arguments(image):
    return image.tile[0].args if image.tile else None


def _codec(image):
    return image.tile[0].codec_name if image.tile else None


def _decoded(image, arguments):
    image.tile = [image.tile[0]._replace(args=arguments)]
    return np.asarray(image)


def _largest(image):
    arguments = _arguments(image)
    return arguments[-1] if isinstance(arguments, tuple) else arguments


def _read_ppm(path, image):
    largest, start, plain = _largest(image), image.tile[0].offset, _codec(image) == "ppm_plain"
    size = (image.height, image.width, 3)
    data = path.read_bytes()[start:]
    if plain:
        lines = (line.partition(b"#")[0] for line in data.splitlines())
        values = np.array(b" ".join(lines).split()[: np.prod(size)], dtype=np.uint16)
    else:
        values = np.frombuffer(data, ">u2", count=int(np.prod(size))).astype(np.uint16)
    whole = (0, int(largest))
    return values.reshape(size), Meaning(bits=whole[1].bit_length(), whole=whole)
