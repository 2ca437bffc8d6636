"""PNG, JPEG and other everyday image files, read with Pillow."""

import re
from collections.abc import Iterator
from pathlib import Path

from PIL import ExifTags, Image, UnidentifiedImageError

from keras_espmedsam.data.formats.deep_colour import has_deep_colour, read_deep_colour
from keras_espmedsam.data.formats.file_format import FileFormat, read_head
from keras_espmedsam.data.formats.image_source import Frame, ImageSource
from keras_espmedsam.data.layout import Layout
from keras_espmedsam.errors import InputError
from keras_espmedsam.imaging.arrays import pillow_to_array
from keras_espmedsam.imaging.mask_colours import mask_array, mask_channels

# Only these of Pillow's decoders are ever tried on a file: the fewer, the smaller the attack
# surface. DRIVE's masks are GIF, PH2's images BMP and STARE's PPM.
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "PPM", "WEBP")


class RasterFormat(FileFormat):
    """PNG, JPEG, BMP, GIF, PPM and WebP.

    Source: ours.
    """

    name = "raster image"
    suffixes = (
        *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".dib", ".gif", ".webp"),
        *(".ppm", ".pgm", ".pbm", ".pnm"),
    )
    signatures = ((0, b"\x89PNG\r\n\x1a\n"), (0, b"\xff\xd8\xff"), (0, b"GIF87a"), (0, b"GIF89a"))
    loggers = ("PIL",)

    def sniff(self, head: bytes, path: Path) -> bool:
        """Whether it begins as one of them."""
        if super().sniff(head, path) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP"):
            return True
        # Two letters alone are also how texts begin.
        if re.match(rb"P[1-6f]\s+[#\d]", head):
            return True
        return head[:2] == b"BM" and head[6:10] == b"\0\0\0\0"

    def open(self, path: Path) -> ImageSource:
        """Read the header of a PNG, JPEG, BMP, GIF, PPM or WebP file.

        Every frame of an animation is an image, as every page of a TIFF is. Of the several images
        in a phone's JPEG those of the first one's size are; others are previews and gain maps.

        Args:
            path: the file; its content decides, not its name.

        Returns:
            The stored size and number of its images and a function that decodes them.

        Raises:
            InputError: when it is no image of these types.

        Source: ours.
        """
        try:
            with Image.open(path, formats=FORMATS) as image:
                width, height = image.size
                count = len(_frames(image))
                # Not the subclass's method, which decodes a PNG to look behind its pixels.
                layout = _layout(Image.Image.getexif(image))
        except UnidentifiedImageError as error:
            if self.sniff(read_head(path), path):
                raise InputError(
                    f"{path} is damaged, or of a kind of its format that is not read, such as JPEG "
                    "with 12 bits per value. Get a new copy of it, or save it as PNG."
                ) from error
            raise InputError(
                f"{path} is not an image: its content is of no known type, whatever its name says. "
                "Expected PNG, JPEG, TIFF, BMP, GIF, PPM, WebP, DICOM or NIfTI."
            ) from error
        return ImageSource(
            height,
            width,
            count,
            lambda: _decode(path),
            labels=lambda: _decode(path, labels=True),
            layout=layout,
        )


def _layout(exif: Image.Exif) -> Layout:
    return Layout.from_exif(exif.get(ExifTags.Base.Orientation, 1))


def _frames(image: Image.Image) -> list[int]:
    count = getattr(image, "n_frames", 1)
    if image.format != "MPO":
        return list(range(count))
    size, found = image.size, []
    for number in range(count):
        image.seek(number)
        if image.size == size:
            found.append(number)
    image.seek(0)
    return found


def _decode(path: Path, labels: bool = False) -> Iterator[Frame]:
    with Image.open(path, formats=FORMATS) as image:
        numbers = _frames(image)
        deep = has_deep_colour(image)  # asked before anything decodes it
        layout = _layout(image.getexif())
        if deep:
            values, meaning = read_deep_colour(path)
            if labels:
                values = _deep_mask(image, values)
            yield Frame(layout.apply(values), layout, meaning=meaning)
            return
        for number in numbers:
            if number:
                image.seek(number)
            image.load()
            array = mask_array(image) if labels else pillow_to_array(image)
            yield Frame(layout.apply(array), layout)


def _deep_mask(image, values):
    """Small labels are lost in the upper eight bits; of an alpha channel these say enough."""
    image.load()
    if "A" in image.getbands() and len(set(image.getextrema()[-1])) > 1:
        return mask_array(image)
    return mask_channels(values) if values.ndim == 3 else values
