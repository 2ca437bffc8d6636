"""The base class of file formats: how to recognise a file, read it and write its mask."""

import abc
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from keras_espmedsam.data.formats.image_source import ImageSource

if TYPE_CHECKING:
    from keras_espmedsam.data.decoded_image import DecodedImage

HEAD_BYTES = 1024
"""The number of first bytes of a file that are used to recognise its format."""


class FileFormat(abc.ABC):
    """The base class of file formats for images and masks.

    To add a format, write one subclass and register it in
    `keras_espmedsam.registries.file_formats`. It is created once, without arguments, and used by
    everything that reads or lists files: `read_image`, `read_mask`, `read_folder`,
    `check_records`, `espmedsam segment` and training. Import the libraries that it needs when a
    file is opened, not with the module.

    A format only returns stored values, turned upright, and what the file says about them. Black
    and white, pixel limits, several images in a file and turning masks back are handled for it.

    Attributes:
        name: the name in messages, such as `"NIfTI"`.
        suffixes: the suffixes of its files, in lower case: `(".nii", ".nii.gz")`.
        signatures: `(offset, bytes)` pairs, any of which identifies its files; see `sniff`.
        known_by_name: whether a file with such a suffix belongs to it if its content does not
            tell; False if the content always tells.
        image_word: the word for one of several images in a file: `"slice"`, `"frame"`.
        mask_suffixes: the suffixes of the mask files that it writes, with all masks of a file in
            one; the first is used unless the image's name ends in another. Empty if masks are PNG
            files, one per image.
        masks_need_volume: whether it can write only masks of images with a position in space
            (`ImageSource.volume`).
        loggers: the loggers of its libraries, which are silenced while it reads.

    Example:
        >>> from keras_espmedsam.data import FileFormat, Frame, ImageSource
        >>> from keras_espmedsam.registries import file_formats
        >>> class NumpyFormat(FileFormat):
        ...     '''Arrays `(height, width)` or `(height, width, 3)`.'''
        ...     name = "NumPy"
        ...     suffixes = (".npy",)
        ...     signatures = ((0, b"\\x93NUMPY"),)
        ...     def open(self, path):
        ...         array = np.load(path, mmap_mode="r")
        ...         height, width = array.shape[:2]
        ...         return ImageSource(height, width, 1, lambda: iter([Frame(np.array(array))]))
        >>> file_formats.register("npy", NumpyFormat)
        >>> import tempfile
        >>> path = tempfile.mkdtemp() + "/array.npy"
        >>> np.save(path, np.full((2, 3), 7, "uint8"))
        >>> kem.data.read_image(path).array.tolist()
        [[7, 7, 7], [7, 7, 7]]
        >>> file_formats.unregister("npy")
    """

    name: str
    suffixes: tuple[str, ...]
    signatures: tuple[tuple[int, bytes], ...] = ()
    known_by_name: bool = True
    image_word: str = "frame"
    mask_suffixes: tuple[str, ...] = ()
    masks_need_volume: bool = False
    loggers: tuple[str, ...] = ()

    def sniff(self, head: bytes, path: Path) -> bool:
        """Return whether a file's content is of this format, whatever its name.

        Args:
            head: its first `HEAD_BYTES` bytes, or as many as it has; never empty.
            path: the file, for formats that must read more of it or need its name.

        Returns:
            bool. By default, whether one of the `signatures` matches.
        """
        return any(
            head[start : start + len(signature)] == signature
            for start, signature in self.signatures
        )

    @abc.abstractmethod
    def open(self, path: Path) -> ImageSource:
        """Read a file's header, without decoding its pixels.

        Args:
            path: the file, which exists and is not empty.

        Returns:
            The size and number of its images, and a function that decodes them.

        Raises:
            InputError: when it cannot be read for a known reason. Any other exception, here or
                while decoding, is reported as a file that is cut short or damaged.
        """

    def mask_suffix(self, path: Path) -> str:
        """Return the suffix of the mask for an image, or of a mask itself.

        Args:
            path: the image or the mask.

        Returns:
            One of `mask_suffixes`, or `".png"` if there are none.
        """
        name = path.name.lower()
        own = [suffix for suffix in self.mask_suffixes if name.endswith(suffix)]
        return max(own, key=len, default=(*self.mask_suffixes, ".png")[0])

    def write_masks(
        self, path: Path, masks: Sequence[np.ndarray], reference: "DecodedImage | None"
    ) -> None:
        """Write the masks of all images of a file to one file.

        Args:
            path: a temporary file to write, whose name ends in one of `mask_suffixes`. It is
                renamed, and replaces an older file, when this method returns.
            masks: bool `(height, width)` for each image, in the stored orientation; their number
                and size are those of the images of `reference`.
            reference: any image of the segmented file; None if none was given.
        """
        raise NotImplementedError(f"{type(self).__name__}.write_masks, for its mask_suffixes")

    @property
    def writes_labels(self) -> bool:
        """Whether its mask files can also hold a number for each object."""
        return type(self).write_labels is not FileFormat.write_labels

    def write_labels(
        self, path: Path, labels: Sequence[np.ndarray], reference: "DecodedImage | None"
    ) -> None:
        """Write the label images of all images of a file to one file.

        A format that has no such method gets a PNG file for each image.

        Args:
            path: see `write_masks`.
            labels: uint16 or int32 `(height, width)` for each image, 0 for the background; see
                `write_masks`.
            reference: see `write_masks`.
        """
        raise NotImplementedError(f"{type(self).__name__}.write_labels")


def read_head(path: Path) -> bytes:
    """Return a file's first `HEAD_BYTES` bytes; empty if it cannot be read."""
    try:
        if path.is_file():  # Reading a pipe would block.
            with path.open("rb") as file:
                return file.read(HEAD_BYTES)
    except (OSError, ValueError):  # A link to itself, a name that is too long or has a zero byte.
        pass
    return b""
