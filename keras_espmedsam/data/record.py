"""A record of a data set: an image, its masks, and where they belong."""

import dataclasses
from pathlib import Path

from keras_espmedsam._shown import shown
from keras_espmedsam.errors import InputError


@dataclasses.dataclass(frozen=True)
class TargetMask:
    """The mask of one target in one image.

    Args:
        target: the target's name, such as `"optic_disc"`; empty for the modality's first.
        mask: path of its mask: foreground and background, or with `value` a label image. It may be
            the file of the instances, whose numbered pixels are then the foreground.
        instances: path of an image that numbers the target's objects from 1, or None.
        other_masks: paths of further masks, if there is one per object.
        value: the value, or tuple of values, that the target has in a label image; None if `mask`
            holds only this target.
        table: the names of all values of the label image, such as `"1=lungs;2=heart"`. Other
            values in the file are then errors; without a table they are background.
        objects: whether each of its masks shows one object, which gives the instances, too.

    Example:
        >>> TargetMask("heart", Path("7.png"), value=2, table="1=lungs;2=heart").value
        (2,)
    """

    target: str
    mask: Path
    instances: Path | None = None
    other_masks: tuple[Path, ...] = ()
    value: tuple[int, ...] | int | None = None
    table: str = ""
    objects: bool = False

    def __post_init__(self):
        if isinstance(self.value, int):
            object.__setattr__(self, "value", (self.value,))

    @property
    def values(self) -> tuple[int, ...] | None:
        """`value` as a tuple, or None."""
        return (self.value,) if isinstance(self.value, int) else self.value

    @property
    def has_instances(self) -> bool:
        """Whether its objects are told apart."""
        return self.instances is not None or self.objects

    @property
    def mask_files(self) -> tuple[Path, ...]:
        """The paths of its masks, without that of the instances."""
        return (self.mask, *self.other_masks)


@dataclasses.dataclass(frozen=True)
class Record:
    """One image with its masks, or without one.

    Args:
        split: such as `"test"`.
        modality: such as `"fundus"`; empty if there is none, as for natural images.
        dataset: the data set's name.
        image: path of the image.
        mask: path of its mask, or None. With `targets` that of the first.
        group: the patient or video, whose images stay in the same split; or empty.
        index: which image of the file (slice, frame or page), from 0; None for all of them, or
            the only one. The mask's file holds the same number.
        other_masks: paths of further masks, if there is one per object; a pixel is foreground if
            it is in any mask.
        intensity: the values shown as black and white: `"auto"`, `"full"` or a pair of values; see
            `read_images`. None for the reader's setting.
        targets: the `TargetMask` of each target that is labelled. The modality's other targets
            are unknown here, not absent. If empty, `mask` shows the modality's first target.

    Raises:
        InputError: for a target that is given twice.

    Example:
        >>> Record("train", "", "photographs", Path("cat.jpg")).mask is None
        True
        >>> eye = Record("train", "fundus", "eyes", Path("7.jpg"), targets=(
        ...     TargetMask("vessels", Path("7_v.png")), TargetMask("optic_disc", Path("7_d.png"))))
        >>> eye.mask.name, eye.without_masks().mask
        ('7_v.png', None)
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
    targets: tuple[TargetMask, ...] = ()

    def __post_init__(self):
        object.__setattr__(self, "targets", tuple(self.targets))
        names = [one.target for one in self.targets]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise InputError(
                f"Received the target {shown(twice) or '(the first)'} of {shown(self.image)} "
                "twice; give each target of an image one mask."
            )
        if self.targets and self.mask is None:
            object.__setattr__(self, "mask", self.targets[0].mask)
            object.__setattr__(self, "other_masks", self.targets[0].other_masks)

    @property
    def target_masks(self) -> tuple[TargetMask, ...]:
        """The masks by target: `targets`, or `mask` as that of the modality's first target."""
        if self.targets or self.mask is None:
            return self.targets
        return (TargetMask("", self.mask, other_masks=self.other_masks),)

    @property
    def files(self) -> tuple[Path, ...]:
        """All files of the record: its image, masks and instances, each once."""
        found = [self.image]
        for one in self.target_masks:
            found += [*one.mask_files, *([one.instances] if one.instances is not None else [])]
        return tuple(dict.fromkeys(found))

    def without_masks(self) -> "Record":
        """Return the record of the image alone."""
        return dataclasses.replace(self, mask=None, other_masks=(), targets=())
