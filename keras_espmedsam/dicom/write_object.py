"""Write a DICOM object to a file."""

import os
from typing import Any

from keras_espmedsam._files import atomic_path
from keras_espmedsam.data.formats.quiet_libraries import quiet_libraries


def write_dicom_object(path: str | os.PathLike, dataset: Any) -> None:
    """Write a DICOM object, completely or not at all.

    Args:
        path: the file. An existing one is replaced.
        dataset: a segmentation or a report of this package, or any pydicom dataset with its file
            meta information.

    Raises:
        OSError: when the folder cannot be written.
    """
    with atomic_path(path) as temporary, quiet_libraries:
        dataset.save_as(temporary, enforce_file_format=True)
