"""What is found in one image of a file."""

import dataclasses
from pathlib import Path

import numpy as np

from keras_espmedsam.data.decoded_image import DecodedImage
from keras_espmedsam.data.images import ImageFile
from keras_espmedsam.errors import InputError


@dataclasses.dataclass(frozen=True, eq=False)
class FileResult:
    """The result of one image of a file, or why there is none.

    Args:
        path: the file.
        index: the image's number among those of the file, from 0; None where the file as a whole
            was refused.
        count: the number of images in the file; 0 where it cannot be read.
        mask: bool `(height, width)`, upright as `image` is; `write_mask` turns it back.
        probabilities: float32 `(height, width)`; None of a segmenter that gives masks alone.
        modality: the name that was used.
        confidence: in [0, 1], how sure the recogniser was of the modality; None where it was
            given.
        blank: whether the image shows nearly one brightness all over, so that its mask says
            nothing.
        notices: what is to be said of the file, as ends of sentences that begin with it: with its
            first image how black and white were found where nothing tells, with its last that all
            of its images are blank.
        image: what was segmented.
        error: why there is no mask; mask, probabilities and image are None then, and nothing
            follows of this file.
        file: the file, its header read; None where it cannot be.

    Source: ours.
    """

    path: Path
    index: int | None = None
    count: int = 0
    mask: np.ndarray | None = None
    probabilities: np.ndarray | None = None
    modality: str | None = None
    confidence: float | None = None
    blank: bool = False
    notices: tuple[str, ...] = ()
    image: DecodedImage | None = None
    error: InputError | None = None
    file: ImageFile | None = dataclasses.field(default=None, repr=False)

    def __repr__(self) -> str:
        if self.error is not None:
            return f"<FileResult: {self.error}>"
        which = ""
        if self.count > 1 and self.index is not None:
            which = f", image {self.index + 1} of {self.count}"
        if self.mask is None:
            return f"<FileResult: {self.path}{which}: no mask>"
        share = float(np.mean(self.mask))
        return f"<FileResult: {self.path}{which}: {self.modality}, {share:.1%} foreground>"
