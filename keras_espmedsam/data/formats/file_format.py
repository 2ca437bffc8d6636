"""The contract of a file format: how a file of it is known, read, and given a mask."""

import abc
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from keras_espmedsam.data.formats.image_source import ImageSource

if TYPE_CHECKING:
    from keras_espmedsam.data.decoded_image import DecodedImage

HEAD_BYTES = 1024
"""As many of a file's first bytes as its format can be told by."""


class FileFormat(abc.ABC):
    """A format of files that images and masks are read from.

    One is a class in one file, and an entry of `keras_espmedsam.registries.file_formats`. It is
    made once, without arguments, and asked by all that reads or lists files: `read_image`,
    `read_mask`, `read_folder`, `check_records`, `espmedsam segment` and training. A library that
    it needs is imported where a file is opened, not with the module.

    What is black and white, pixel limits, several images in a file, and turning masks back are
    done for it: it gives stored values, turned upright, and what the file says of them.

    Attributes:
        name: what it is called in messages, such as `"NIfTI"`.
        suffixes: how the names of its files end, in lower case: `(".nii", ".nii.gz")`.
        signatures: `(offset, bytes)` pairs, any of which tells its files; see `sniff`.
        known_by_name: whether a file is of it that is called so and whose content says nothing;
            False where the content always tells.
        image_word: what one of several images in a file is called: `"slice"`, `"frame"`.
        mask_suffixes: how the names of the masks end that it writes, all of a file in one; the
            first is taken unless the image's name ends in another. Empty where a mask is a PNG
            file for each image.
        masks_need_volume: whether it writes masks of images alone that have a place in space
            (`ImageSource.volume`).
        loggers: those of its libraries, which are silent while it reads.

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

    Source: ours.
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
        """Whether a file's content is of this format, whatever its name says.

        Args:
            head: its first `HEAD_BYTES` bytes, or as many as it has; never empty.
            path: the file, for a format that must look further into it, or at its name as well.

        Returns:
            True where one of the `signatures` is there.
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
            InputError: when it cannot be read for a reason that can be told. Any other exception,
                here and in what decodes, becomes the sentence that the file is cut short or
                damaged.
        """

    def mask_suffix(self, path: Path) -> str:
        """How the name of the mask of the image `path` ends, or of the mask `path` itself.

        Args:
            path: the file.

        Returns:
            One of `mask_suffixes`, or `".png"` where there are none.
        """
        name = path.name.lower()
        own = [suffix for suffix in self.mask_suffixes if name.endswith(suffix)]
        return max(own, key=len, default=(*self.mask_suffixes, ".png")[0])

    def write_masks(
        self, path: Path, masks: Sequence[np.ndarray], reference: "DecodedImage | None"
    ) -> None:
        """Write the masks of all images of a file as one file.

        Args:
            path: a new file to write, whose name ends in one of `mask_suffixes`. It gets its own
                name, and replaces an older one, when this returns.
            masks: bool `(height, width)` for each image, in the orientation in which it is stored;
                they are as many and as large as the images of `reference`.
            reference: any image of the file that was segmented; None where none was given.
        """
        raise NotImplementedError(f"{type(self).__name__}.write_masks, for its mask_suffixes")


def read_head(path: Path) -> bytes:
    """A file's first `HEAD_BYTES` bytes; empty where there are none to be read.

    Source: ours.
    """
    try:
        if path.is_file():  # a pipe would be waited for
            with path.open("rb") as file:
                return file.read(HEAD_BYTES)
    except (OSError, ValueError):  # a link to itself, a name that is too long, a byte 0
        pass
    return b""
