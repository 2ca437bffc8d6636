"""Read PNG, JPEG and other common image files with Pillow."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from PIL import ExifTags, Image, UnidentifiedImageError

from keras_espmedsam.data.formats.deep_colour import has_deep_colour, read_deep_colour
from keras_espmedsam.data.formats.file_format import FileFormat, read_head
from keras_espmedsam.data.formats.image_source import Frame, ImageSource
from keras_espmedsam.data.formats.jpeg_scans import check_scans
from keras_espmedsam.data.layout import Layout
from keras_espmedsam.errors import InputError
from keras_espmedsam.imaging.arrays import pillow_to_array
from keras_espmedsam.imaging.mask_colours import mask_array, mask_channels

# The only decoders of Pillow that are used, for a small attack surface. DRIVE's masks are GIF,
# PH2's images BMP and STARE's PPM.
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "PPM", "WEBP")
# The bytes of a chunk that starts a frame of an animated PNG: length, name, data and checksum.
_LEAST_OF_A_FRAME = 38
# Limits of all frames of an animation: this many pixels in any case, or this many per byte.
_MOST_PIXELS, _MOST_PER_BYTE = 400_000_000, 2000


class RasterFormat(FileFormat):
    """PNG, JPEG, BMP, GIF, PPM and WebP."""

    name = "raster image"
    suffixes = (
        *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".dib", ".gif", ".webp"),
        *(".ppm", ".pgm", ".pbm", ".pnm"),
    )
    signatures = ((0, b"\x89PNG\r\n\x1a\n"), (0, b"\xff\xd8\xff"), (0, b"GIF87a"), (0, b"GIF89a"))
    loggers = ("PIL",)

    def sniff(self, head: bytes, path: Path) -> bool:
        """Return whether the file starts like one of these formats."""
        if super().sniff(head, path) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP"):
            return True
        # Two letters are not enough, because texts may start with them too.
        if re.match(rb"P[1-6f]\s+[#\d]", head):
            return True
        return head[:2] == b"BM" and head[6:10] == b"\0\0\0\0"

    def open(self, path: Path) -> ImageSource:
        """Read the header of a PNG, JPEG, BMP, GIF, PPM or WebP file.

        Every frame of an animation is an image, like every page of a TIFF. If a phone's JPEG holds
        several images, those with the size of the first count; others are previews and gain maps.

        Args:
            path: the file; its content decides, not its name.

        Returns:
            The stored size and number of its images, and a function that decodes them.

        Raises:
            InputError: when it is not an image of these types.
        """
        try:
            with Image.open(path, formats=FORMATS) as image:
                width, height = image.size
                _check_count(path, image)
                if image.info.get("progressive"):
                    check_scans(path)
                count = len(_frames(image))
                # Not the PNG class's method, which decodes the pixels to look for EXIF after them.
                layout = _layout(Image.Image.getexif(image))
        except UnidentifiedImageError as error:
            if self.sniff(read_head(path), path):
                raise InputError(
                    f"{path} is damaged, or an unsupported variant of its format, such as JPEG "
                    "with 12 bits per value. Get a new copy of it, or save it as PNG."
                ) from error
            raise InputError(
                f"{path} is not an image: its content is of no known type, whatever its name. "
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


def _check_count(path: Path, image: Image.Image) -> None:
    """Reject more frames than the file has room for, or more pixels than is plausible."""
    count, pixels = getattr(image, "n_frames", 1), image.width * image.height
    there = path.stat().st_size
    # In other formats, Pillow counts the frames that exist.
    if count > 1 and count * _LEAST_OF_A_FRAME > there and image.format == "PNG":
        raise InputError(
            f"{path} is damaged or cut short: it promises {count:,} frames, but is too short for "
            "them. Get a new copy of it."
        )
    if count > 1 and count * pixels > max(_MOST_PIXELS, _MOST_PER_BYTE * there):
        raise InputError(
            f"{path} is not a valid file: it has {count:,} frames with {count * pixels:,} pixels "
            "in all, out of proportion to its length."
        )


def _frames(image: Image.Image) -> Sequence[int]:
    count = getattr(image, "n_frames", 1)
    if image.format != "MPO":
        return range(count)
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
        deep = has_deep_colour(image)  # Before anything decodes it.
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
    """Read a 16-bit mask: small labels need all bits, but for alpha the upper eight are enough."""
    image.load()
    if "A" in image.getbands() and len(set(image.getextrema()[-1])) > 1:
        return mask_array(image)
    return mask_channels(values) if values.ndim == 3 else values
