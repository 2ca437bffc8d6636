"""One image of an uploaded file, as the page shows and corrects it."""

import dataclasses
import io
import itertools
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pydantic import Field

from keras_espmedsam.data.decoded_image import DecodedImage
from keras_espmedsam.data.images import ImageFile, inspect_image_file
from keras_espmedsam.data.pixel_spacing import pixel_spacing
from keras_espmedsam.errors import InputError
from keras_espmedsam.imaging.bands import bands
from keras_espmedsam.imaging.intensity import AUTO as AUTO_INTENSITY
from keras_espmedsam.imaging.intensity import Intensity, parse_intensity
from keras_espmedsam.imaging.pixels import as_unit_floats, rgb_brightness
from keras_espmedsam.imaging.target_colours import target_colours
from keras_espmedsam.inference import FileResult, segment_files
from keras_espmedsam.inference.recognition import AUTO
from keras_espmedsam.inference.recognize_files import FileRecognizer
from keras_espmedsam.inference.scope import out_of_scope
from keras_espmedsam.serve.form_data import Part, form_data
from keras_espmedsam.serve.image_results import Answer, check_recognizer, described_image
from keras_espmedsam.serve.problems import without_path
from keras_espmedsam.serve.segment_query import SegmentQuery
from keras_espmedsam.serve.settings import ServerSettings

IN_MASK = 128
"""The bit of a pixel in `maps` that is set in the mask."""

STEPS = 100
"""The other bits of a pixel in `maps` are its probability, in so many steps, rounded down."""

_JSON, _BYTES = "application/json", "application/octet-stream"


class PageQuery(SegmentQuery):
    """What the page asks of an image: the parameters of `POST /segment`, and which image."""

    image: int = Field(1, ge=1, description="The number of the image in its file.")


def shown_image(path: Path, segmenter: Any, query: PageQuery, settings: ServerSettings) -> Answer:
    """Return an image of an uploaded file as a browser can show it, as the segmenter sees it.

    Args:
        path: the file.
        segmenter: the segmenter.
        query: what is asked for.
        settings: the server's limits.

    Returns:
        A form of `info`, JSON, and `image`, an upright PNG of 8 bits.

    Raises:
        InputError: for a file, or a query, that cannot be used.
    """
    try:
        one = _one_image(path, query, settings)
        image = next(one.images(intensity=_intensity(query, segmenter)))
        height, width = image.size
        spacing = pixel_spacing(image)
        info = {
            "number": query.image,
            "count": one.whole.count,
            "word": one.format.image_word,
            "one_mask_file": one.one_mask_file,
            "width": width,
            "height": height,
            # The masks of a volume's slices are saved as they are shown.
            "orientation": 1 if image.volume is not None else image.layout.exif,
            "pixel_mm2": None if spacing is None else spacing[0] * spacing[1],
        }
        return _answer(info, "image", _png(image), "image/png")
    except InputError as error:
        raise InputError(without_path(str(error), path)) from None


def segmented_image(
    path: Path,
    segmenter: Any,
    recognizer: Any,
    query: PageQuery,
    settings: ServerSettings,
    name: str,
) -> Answer:
    """Segment one image of an uploaded file, like `espmedsam segment`.

    The modality is recognised as for the whole file.

    Args:
        path: the file.
        segmenter: the segmenter.
        recognizer: the recogniser of modalities, or None.
        query: what is asked for.
        settings: the server's limits.
        name: the model's name, for the answer.

    Returns:
        A form of `info`, JSON like that of `POST /segment`, and `maps`, uint8
        `(targets, height, width)` compressed with zlib: in each byte, `IN_MASK` is set in the mask,
        and the rest is the probability in `STEPS`, rounded down.

    Raises:
        InputError: for a file, or a query, that cannot be used.
    """
    query.check()
    check_recognizer(segmenter, recognizer, query.modality)
    try:
        one = _one_image(path, query, settings)
        modality, confidence = query.modality, None
        if recognizer is not None and modality in (None, AUTO):
            found = FileRecognizer(recognizer, segmenter.modalities, settings.batch_size)
            recognition = found.recognize_file(one.whole, _intensity(query, segmenter))
            if recognition.refusal:
                raise InputError(f"{path} {recognition.refusal}. Choose the modality yourself.")
            modality, confidence = recognition.modality, recognition.confidence
        (result,) = segment_files(
            segmenter,
            [one],
            modality,
            recognizer=recognizer,
            batch_size=settings.batch_size,
            **query.options(),
        )
        if result.error is not None:
            raise result.error
    except InputError as error:
        raise InputError(without_path(str(error), path)) from None
    described = described_image(result)
    colours = target_colours(result.known_targets or result.targets)
    for target in described["targets"]:
        target["colour"] = colours[target["target"]]
        target["told_apart"] = target["target"] in result.instances
    told = out_of_scope(described["modality"], 1, 1)  # The page says so in its own words.
    info = {
        **described,
        "notices": [one for one in described["notices"] if one != told],
        "model": name,
        "number": query.image,
        "confidence": described["confidence"] if confidence is None else confidence,
        "has_probabilities": result.probabilities is not None,
    }
    return _answer(info, "maps", zlib.compress(_maps(result).tobytes(), 1), _BYTES)


@dataclasses.dataclass(frozen=True)
class _OneImage(ImageFile):
    """One image of a file, in the black and white of the whole file."""

    number: int

    @property
    def whole(self) -> ImageFile:
        return ImageFile(self.path, self.source, self.format)

    @property
    def count(self) -> int:
        return 1

    def images(
        self, labels: bool = False, intensity: Intensity | None = AUTO_INTENSITY
    ) -> Iterator[DecodedImage]:
        """Decode the one image; those before it are decoded, too."""
        images = self.whole.images(labels, intensity)
        yield from itertools.islice(images, self.number - 1, self.number)


def _one_image(path: Path, query: PageQuery, settings: ServerSettings) -> _OneImage:
    file = inspect_image_file(path, settings.max_pixels)
    if query.image > file.count:
        raise InputError(
            f"Received image={query.image} for a file with {file.count} "
            f"{file.format.image_word}{'s' * (file.count > 1)}; expected a number from 1 to "
            f"{file.count}."
        )
    return _OneImage(file.path, file.source, file.format, query.image)


def _intensity(query: PageQuery, segmenter: Any) -> Intensity:
    """Return the values shown as black and white, as `segment_files` chooses them."""
    own = getattr(segmenter, "intensity", None)
    return parse_intensity(query.intensity) or own or AUTO_INTENSITY


def _png(image: DecodedImage) -> bytes:
    values = rgb_brightness(image.array)
    if values.dtype != np.uint8:
        values = np.round(as_unit_floats(values) * 255).astype(np.uint8)
    stream = io.BytesIO()
    shown = Image.fromarray(values[..., 0] if values.shape[-1] == 1 else values)
    shown.save(stream, "PNG", compress_level=1)
    return stream.getvalue()


def _maps(result: FileResult) -> np.ndarray:
    """Return masks and probabilities, uint8 `(targets, height, width)`."""
    masks = np.stack(list(result.masks.values())).astype(np.uint8) * np.uint8(IN_MASK)
    if result.probabilities is None:
        return masks
    probabilities = np.asarray(result.probabilities)
    if probabilities.ndim == 2:
        probabilities = probabilities[..., None]
    # A threshold of k steps is reached exactly where the rounded value is at least k.
    thresholds = (np.arange(1, STEPS + 1) / STEPS).astype(probabilities.dtype)
    for mask, channel in zip(masks, np.moveaxis(probabilities, -1, 0), strict=True):
        for rows in bands(*channel.shape):  # Eight bytes for each pixel are needed for a while.
            steps = np.searchsorted(thresholds, channel[rows], side="right")
            mask[rows] |= steps.astype(np.uint8)
    return masks


def _answer(info: dict[str, Any], name: str, content: bytes, kind: str) -> Answer:
    told = json.dumps(info, allow_nan=False).encode()
    body, media_type = form_data({"info": Part(told, _JSON), name: Part(content, kind, name)})
    return Answer(body, media_type, 1)
