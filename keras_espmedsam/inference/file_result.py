"""The result for one image of a file."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from keras_espmedsam.data.decoded_image import DecodedImage
from keras_espmedsam.data.images import ImageFile
from keras_espmedsam.data.targets import UNNAMED
from keras_espmedsam.errors import InputError


@dataclasses.dataclass(frozen=True, eq=False)
class FileResult:
    """The result for one image of a file, or the error if there is none.

    Args:
        path: the file.
        index: the image's number in the file, from 0; None if the whole file was rejected.
        count: the number of images in the file; 0 if it cannot be read.
        mask: bool `(height, width)`, upright like `image`; `write_mask` turns it back. With several
            targets or a list of them, `(height, width, targets)`; `masks` has each on its own.
        probabilities: float32 of the same shape; None if the segmenter gives only masks.
        modality: the modality's name.
        confidence: in [0, 1], the recogniser's confidence in the modality; None if you gave it.
        blank: whether the image has nearly the same brightness everywhere, so that its mask means
            nothing.
        notices: messages about the file, as ends of sentences that begin with its path. The first
            image tells how black and white were chosen if the file does not say; the last one
            tells if all images are blank.
        image: the segmented image.
        error: why there is no mask. Mask, probabilities and image are then None, and it is the
            file's last result.
        file: the file with its header; None if it cannot be read.
        targets: the names of the masks.
        instances: dict of target to its label image, int32 `(height, width)`, 0 for the background
            and a number for each object, for targets whose objects are told apart.
        quality: dict of target to the Dice that its mask is predicted to have, for targets of which
            the segmenter predicts it.
        scope_score: how unlike the image is to those of its modality that the segmenter was fitted
            to; None if the segmenter does not tell it.
        in_scope: whether that is 1 or less; None likewise.
        known_targets: the names of all targets of the modality, of which `targets` are those that
            were asked for.

    Example:
        >>> mask = np.array([[True, False]])
        >>> FileResult(Path("eye.png"), index=0, count=1, mask=mask, modality="fundus")
        <FileResult: eye.png: fundus, 50.0% foreground>
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
    targets: tuple[str, ...] = (UNNAMED,)
    instances: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    known_targets: tuple[str, ...] = ()
    quality: Mapping[str, float] = dataclasses.field(default_factory=dict)
    scope_score: float | None = None
    in_scope: bool | None = None

    @property
    def masks(self) -> dict[str, np.ndarray]:
        """dict of target to its mask, bool `(height, width)`; empty if there is none.

        Example:
            >>> mask = np.array([[[True, False]]])
            >>> result = FileResult(Path("chest.png"), mask=mask, targets=("lungs", "heart"))
            >>> result.masks["heart"].tolist()
            [[False]]
        """
        if self.mask is None:
            return {}
        if self.mask.ndim == 2:
            return {self.targets[0]: self.mask}
        return {name: self.mask[..., number] for number, name in enumerate(self.targets)}

    def __repr__(self) -> str:
        if self.error is not None:
            return f"<FileResult: {self.error}>"
        which = ""
        if self.count > 1 and self.index is not None:
            which = f", image {self.index + 1} of {self.count}"
        if self.mask is None:
            return f"<FileResult: {self.path}{which}: no mask>"
        if len(self.targets) == 1:
            shares = f"{float(np.mean(self.mask)):.1%} foreground"
        else:
            shares = ", ".join(
                f"{float(np.mean(mask)):.1%} {name}" for name, mask in self.masks.items()
            )
        return f"<FileResult: {self.path}{which}: {self.modality}, {shares}>"
