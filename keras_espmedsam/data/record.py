"""What a training or test set consists of: an image, its mask, and where they belong."""

import dataclasses
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class Record:
    """One image with its mask, or without one.

    Args:
        split: such as `"test"`.
        modality: such as `"fundus"`; empty where there is none, as for natural images.
        dataset: the data set's name.
        image: path of the image.
        mask: path of its mask, or None where it has none.
        group: what must not be split further (a patient, a video), or empty.
        index: which of the file's images (slice, frame or page) is meant, from 0; None for
            all of them, or the only one. The mask's file holds as many.
        other_masks: paths of further masks of the image, where there is one per object; what any
            of them shows is foreground.
        intensity: what is black and white in the image: `"auto"`, `"full"` or a pair of values;
            see `read_images`. None for what the reader is told.

    Example:
        >>> Record("train", "", "photographs", Path("cat.jpg")).mask is None
        True

    Source: ours.
    """

    split: str
    modality: str
    dataset: str
    image: Path
    mask: Path | None = None
    group: str = ""
    index: int | None = None
    other_masks: tuple[Path, ...] = ()
    intensity: str | tuple[float, float] | None = None
