"""The result for an image as a label map: a number for each target, 0 for the background."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from keras_espmedsam._shown import shown_value
from keras_espmedsam.data.decoded_image import DecodedImage
from keras_espmedsam.data.formats.known_formats import get_format
from keras_espmedsam.data.formats.volume import Volume
from keras_espmedsam.data.images import ImageFile
from keras_espmedsam.data.targets import Targets
from keras_espmedsam.errors import InputError
from keras_espmedsam.serve.monai_label.geometry import stored_affine
from keras_espmedsam.serve.monai_label.nrrd import write_nrrd

NRRD, PNG = ".nrrd", ".png"
_NIFTI = (".nii.gz", ".nii")
EXTENSIONS = (NRRD, *_NIFTI, PNG)
"""The suffixes of a label map's file."""


def target_numbers(targets: Targets) -> dict[str, int]:
    """Return the number of each target in label maps, the same whatever the modality.

    They have no gaps: the plugin for 3D Slicer takes the third name for the number 3.

    Args:
        targets: the targets of a model.

    Example:
        >>> target_numbers(Targets({"xray": ("lungs",), "fundus": ("vessels", "disc")}))
        {'lungs': 1, 'vessels': 2, 'disc': 3}
    """
    names = dict.fromkeys(name for group in targets.names.values() for name in group)
    return {name: number for number, name in enumerate(names, 1)}


def label_values(
    masks: Mapping[str, np.ndarray], numbers: Mapping[str, int], inner: Sequence[str] = ()
) -> np.ndarray:
    """Return a label map of masks. Where they overlap, the later target is on top.

    Args:
        masks: dict of target to bool `(height, width)`.
        numbers: dict of target to its number.
        inner: targets that lie within others, and on top of them.

    Returns:
        uint8 `(height, width)`, or uint16 if there are more than 255 numbers.

    Example:
        >>> disc, cup = np.array([[True, True]]), np.array([[False, True]])
        >>> label_values({"cup": cup, "disc": disc}, {"cup": 1, "disc": 2}, ["cup"]).tolist()
        [[2, 1]]
    """
    kind = np.uint8 if max(numbers.values()) <= 255 else np.uint16
    values = np.zeros(next(iter(masks.values())).shape, kind)
    for name in sorted(masks, key=lambda name: name in inner):
        values[masks[name]] = numbers[name]
    return values


@dataclasses.dataclass
class LabelMap:
    """The label map of a file.

    Args:
        slices: a label map `(rows, columns)` for each image of the file, as it is stored.
        reference: one of its images.
    """

    slices: list[np.ndarray]
    reference: DecodedImage

    @property
    def values(self) -> np.ndarray:
        """All of it: `(columns, rows, slices)`, or as the volume's voxels are stored."""
        volume = self.reference.volume
        if volume is not None:
            return np.stack(self.slices, axis=-1).reshape(volume.shape, order="F")
        return np.stack([one.T for one in self.slices], axis=-1)

    def centroids(self, numbers: Mapping[str, int]) -> dict[str, list[str]]:
        """Return the centre of each target that is there: its number, column, row and slice.

        As MONAI Label does, whose plugin for OHIF needs it: as text.

        Args:
            numbers: dict of target to its number.
        """
        values = self.values
        found = {}
        for name, number in numbers.items():
            places = np.nonzero(values == number)
            if len(places[0]):
                centre = [number, *(int(np.mean(one)) for one in places[:3])]
                found[name] = [str(one) for one in centre]
        return found


def checked_extension(extension: Any, file: ImageFile) -> str:
    """Return the suffix of a label map's file.

    Args:
        extension: what was asked for; None or empty for what fits: NIfTI for a volume, PNG for
            one image, NRRD for several.
        file: the image.

    Raises:
        InputError: for another one, or PNG for several images.
    """
    if not extension:
        if file.is_volume:
            return _NIFTI[0]
        return PNG if file.count == 1 else NRRD
    if extension not in EXTENSIONS:
        raise InputError(
            f"Received the result_extension {shown_value(extension)}; expected one of "
            f"{', '.join(EXTENSIONS)}."
        )
    if extension == PNG and (file.count > 1 or file.is_volume):
        raise InputError(
            f"Received the result_extension {PNG} for a file with {file.count} "
            f"{file.format.image_word}s; give {NRRD} or {_NIFTI[0]}."
        )
    return extension


def write_label_map(label_map: LabelMap, folder: Path, extension: str) -> Path:
    """Write a label map, placed like its image.

    Args:
        label_map: the label map.
        folder: an existing folder.
        extension: one of `EXTENSIONS`.

    Returns:
        The file.
    """
    path = folder / f"label{extension}"
    reference = label_map.reference
    if extension == PNG:
        Image.fromarray(label_map.slices[0]).save(path)
        return path
    affine = stored_affine(reference)
    if extension == NRRD:
        values = label_map.values
        write_nrrd(path, values.reshape(*values.shape[:2], -1, order="F"), affine)
        return path
    slices = label_map.slices
    if reference.volume is None:
        slices = [one.T for one in slices]
        volume = Volume((*slices[0].shape, len(slices)), affine)
        reference = dataclasses.replace(reference, volume=volume)
    get_format("nifti").write_labels(path, slices, reference)
    return path
