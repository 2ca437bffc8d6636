"""Check the options of an export before any work is done."""

import dataclasses
import os
from pathlib import Path

import numpy as np

from keras_espmedsam.errors import InputError, did_you_mean
from keras_espmedsam.export.formats import PRECISIONS, ExportFormat, all_formats, get_format
from keras_espmedsam.models.image_converter import NORMALIZATIONS

FLAVORS = ("images", "logits")
# Names in descriptions and calls of version 0.1.0.
OLD_FLAVORS = {"pictures": "images"}
ANY_SIZE = "any"


@dataclasses.dataclass(frozen=True)
class ExportRequest:
    """The options of one export.

    Args:
        format: `ExportFormat`.
        path: where to write it.
        size: (height, width), or `None` for any.
        batch_size: int, or `None` for any.
        precision: str. One of `PRECISIONS`.
        flavor: str. One of `FLAVORS`.
    """

    format: ExportFormat
    path: Path
    size: tuple | None
    batch_size: int | None
    precision: str
    flavor: str

    @property
    def input_dtype(self):
        """dtype of `images`: uint8 for images, otherwise normalised float32."""
        return "uint8" if self.flavor == "images" else "float32"

    @property
    def description_path(self):
        """The JSON file next to the artefact."""
        return description_path(self.path)


def description_path(path):
    """Return the JSON file next to an artefact; two artefacts of one stem have different ones.

    Example:
        >>> description_path(Path("phone/eye.tflite")).name
        'eye.tflite.json'
    """
    return path.with_name(f"{path.name}.json")


def make_request(
    task, format, path, size=None, batch_size=None, precision="float32", flavor="images",
    overwrite=False,
):  # fmt: skip
    """Check the options of an export.

    Args:
        task: the segmenter or classifier.
        format: str. A name of `keras_espmedsam.registries.export_formats`.
        path, size, batch_size, precision, flavor, overwrite: see `export_model`.

    Returns:
        `ExportRequest`.

    Raises:
        InputError: for options that the format or the model does not support, a path without the
            format's suffix, and one that already exists.
    """
    chosen = get_format(format)
    if task.preprocessor is None:
        raise InputError(
            "This model has no preprocessor, which says how images are normalised; load it with "
            "from_preset, or build it with one."
        )
    if precision not in PRECISIONS:
        raise InputError(
            f"Received the precision {precision!r}; expected one of {', '.join(PRECISIONS)}"
            f"{did_you_mean(precision, PRECISIONS)}"
        )
    if precision not in chosen.precisions:
        able = [one.name for one in all_formats() if precision in one.precisions]
        raise InputError(
            f"{chosen.name} can only be exported in {', '.join(chosen.precisions)}, not in "
            f"{precision}; choose {' or '.join(able)} for that."
        )
    flavor = OLD_FLAVORS.get(flavor, flavor)
    if flavor not in FLAVORS:
        raise InputError(f"Received the flavor {flavor!r}; expected {' or '.join(FLAVORS)}.")
    if batch_size is None and not chosen.open_batch:
        batch_size = 1
    if batch_size is not None and batch_size < 1:
        raise InputError(f"Received batch_size={batch_size}; expected 1 or more.")
    return ExportRequest(
        chosen,
        _checked_path(Path(os.fspath(path)), chosen, overwrite),
        _checked_size(task, chosen, size),
        batch_size,
        precision,
        flavor,
    )


def _checked_size(task, chosen, size):
    converter = task.preprocessor.image_converter
    if size is None:
        size = converter.image_size or (ANY_SIZE if chosen.any_size else None)
        if size is None:
            raise InputError(
                f"This model takes images of any size, but {chosen.name} has to know it; give "
                "the size."
            )
    fixed = _fixed_size(task)
    if isinstance(size, str):
        if size != ANY_SIZE:
            raise InputError(f"Received size={size!r}; expected (height, width) or {ANY_SIZE!r}.")
        able = [one.name for one in all_formats() if one.any_size]
        if not chosen.any_size:
            raise InputError(
                f"{chosen.name} has to know the size of its images; give it, or choose "
                f"{', '.join(able)}."
            )
        if fixed is not None:
            raise InputError(
                f"This model's encoder takes only images of {fixed[0]} x {fixed[1]}; leave the "
                "size out."
            )
        return None
    multiple = converter.size_multiple
    try:
        height, width = (int(side) for side in size)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"Received size={size!r}; expected (height, width) or {ANY_SIZE!r}."
        ) from error
    if min(height, width) < multiple or height % multiple or width % multiple:
        near = [max(1, round(side / multiple)) * multiple for side in (height, width)]
        raise InputError(
            f"Received the size {height} x {width}; expected multiples of {multiple}, such as "
            f"{near[0]} x {near[1]}."
        )
    if fixed not in (None, (height, width)):
        raise InputError(
            f"Received the size {height} x {width}; this model's encoder takes only images of "
            f"{fixed[0]} x {fixed[1]}."
        )
    return height, width


def _fixed_size(task):
    """Return (height, width) if the network takes only one size, otherwise `None`."""
    images = task.input["images"] if isinstance(task.input, dict) else task.input
    height, width = images.shape[1:3]
    return None if None in (height, width) else (height, width)


def _checked_path(path, chosen, overwrite):
    if chosen.suffix and not path.name.endswith(chosen.suffix):
        raise InputError(
            f"Received the output {path} for {chosen.name}; its name must end in {chosen.suffix}, "
            f"such as {path.with_suffix(chosen.suffix)}."
        )
    if not chosen.suffix and path.suffix in {one.suffix for one in all_formats()} - {""}:
        raise InputError(
            f"Received the output {path} for {chosen.name}, which is a folder; give a name such "
            f"as {path.with_suffix('')}."
        )
    if not overwrite:
        refuse_replacing(chosen, path)
    elif path.is_dir() and chosen.suffix:
        raise InputError(f"{path} is a folder; give another name for a file of {chosen.name}.")
    elif not chosen.suffix and path.exists() and not chosen.fits(path):
        # Whatever it is, it is not an older artefact.
        if not path.is_dir() or any(path.iterdir()):
            raise InputError(
                f"{path} holds something other than an artefact of {chosen.name}, and is not "
                "replaced; give another name."
            )
    return path


def refuse_replacing(chosen, path):
    """Raise if something already exists at a path.

    Args:
        chosen: `ExportFormat`.
        path: `pathlib.Path` of the artefact.

    Raises:
        InputError: for an existing artefact, a file that would be part of it, or a description.
    """
    written = [path, *chosen.files(path), description_path(path)]
    there = [one for one in written if os.path.lexists(one)]
    if there:
        raise InputError(f"{there[0]} already exists; give another name, or ask to overwrite it.")


def normalization(task):
    """Return mean and divisor of 8-bit values, each of three channels; NumPy float32.

    Args:
        task: the segmenter or classifier.
    """
    values = NORMALIZATIONS[task.preprocessor.image_converter.normalization]
    return tuple(np.array(one, "float32") for one in values)


def to_pixels(images, mean, divisor):
    """Convert normalised images back to uint8.

    Args:
        images: array `(..., 3)`.
        mean, divisor: of three channels, from `normalization`.

    Example:
        >>> to_pixels(np.zeros((1, 1, 3)), np.array([10.2, 0, 255]), np.ones(3)).tolist()
        [[[10, 0, 255]]]
    """
    return np.rint(images * divisor + mean).clip(0, 255).astype("uint8")
