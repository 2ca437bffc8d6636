"""The images of a run: where they come from, and how they are sampled."""

from pathlib import Path
from typing import Annotated, Literal

import pydantic

from keras_espmedsam.errors import InputError
from keras_espmedsam.training.config.field_types import (
    Existing,
    Intensity,
    Labels,
    NonNegative,
    Parallel,
    Positive,
)
from keras_espmedsam.training.config.settings import Settings
from keras_espmedsam.training.data.sampling_weights import levels_of


class SourceSettings(Settings):
    """Where images come from: an index, a folder, or a JSON file of splits."""

    index: Existing | None = None
    """A CSV file with the columns split, modality, dataset, image and mask."""
    folder: Existing | None = None
    """A folder with images/ and masks/ in it, or in one folder for each split. With `splits`: the
    folder that its paths are relative to."""
    splits: Existing | None = None
    """A JSON file that lists the images of each split."""
    modality: str = ""
    """Modality of all images of this source; needed unless the index has it."""
    datasets: list[str] | None = None
    """Data sets of the index to use; null is all."""
    dataset: str | None = None
    """Name of the data set; null is the folder's name."""
    split: str | None = None
    """Split of all images, if no folders say it; null is train."""
    images: Path | None = None
    """Folder of the images that a file of splits lists."""
    masks: Path | None = None
    """Folder of the masks, if they are not next to images/."""
    group: str | None = None
    """Regular expression that finds, in a file name, the patient or case that must not be divided
    between splits."""
    merge_masks: bool | Literal["objects"] = False
    """Whether several masks of one image are merged into one; `objects` also takes each as one
    object."""
    targets: list[str] | dict[str, list[str]] | None = None
    """Targets to use, such as [optic_disc], or {fundus: [optic_disc]} for one modality of several;
    null is all. In a folder, each has its masks in masks/optic_disc/."""
    target: str | dict[str, str] | None = None
    """Target that masks without a target's name show, such as optic_disc, or {fundus: optic_disc};
    null is the modality's first."""
    labels: Labels = None
    """Targets that the values of label images stand for, such as {1: lungs, 2: heart}."""
    instances: Path | None = None
    """Folder of images that number the objects of the masks."""
    intensity: Intensity = None
    """As `data.intensity`, for this source."""

    @pydantic.model_validator(mode="after")
    def _of_one_kind(self):
        given = [name for name in ("index", "splits", "folder") if getattr(self, name) is not None]
        # A file of splits may give the folder that its paths are relative to.
        if not given or (len(given) > 1 and given != ["splits", "folder"]):
            raise ValueError("give one of index, folder and splits.")
        allowed = {
            "index": ("datasets", "modality", "intensity", "targets", "target", "labels"),
            "folder": (
                *("modality", "dataset", "split", "masks", "group", "merge_masks", "intensity"),
                *("targets", "target", "labels", "instances"),
            ),
            "splits": (
                *("modality", "folder", "dataset", "images", "masks", "intensity"),
                *("targets", "target", "labels"),
            ),
        }[given[0]]
        for name in self.model_fields_set - {given[0], *allowed}:
            raise ValueError(
                f"{name} does not go with {given[0]}, which takes {', '.join(allowed)}."
            )
        return self


def _levels(value):
    try:
        levels_of(value)
    except InputError as error:
        raise ValueError(str(error)) from error
    return value


_Level = Literal["dataset", "modality", "target"]
Balance = Annotated[_Level | list[_Level] | None, pydantic.BeforeValidator(_levels)]


class DataSettings(Settings):
    """Images, and how they are sampled."""

    sources: Annotated[list[SourceSettings], pydantic.Field(min_length=1)]
    """Where the images come from, one entry for each index, folder or file of splits."""
    split_fractions: dict[str, Positive] | None = None
    """Split all images again, such as {train: 0.8, val: 0.2}; images of one group stay together."""
    train_splits: list[str] = ["train"]
    """Splits to train on."""
    val_splits: list[str] = ["val"]
    """Splits to validate on."""
    exclude_datasets: list[str] = []
    """Data sets to leave out of training and validation, such as [drive], to measure on them how
    the model does elsewhere."""
    balance: Balance = "dataset"
    """Draw every data set equally often (`dataset`), every modality (`modality`), every target of
    every modality (`target`), or every image (null). A list divides each share again: [modality,
    dataset] draws modalities equally often, and then the data sets of the modality."""
    weights: dict[str, NonNegative] | None = None
    """Change these shares, such as {busi: 2.0} or {fundus/vessels: 2.0}, in phases that have
    `steps`."""
    overlap: Literal["error", "first", "neither"] = "error"
    """What becomes of pixels of several targets of an exclusive group: the image cannot be used,
    they are the first's, or background."""
    intensity: Intensity = None
    """Which values are black and white if the index or the source does not say: `auto` uses what
    the file says, or else the range of its bits or values; `full` uses the range of its bits; or
    two values, such as [0, 4095]. null uses the preset's. It is also written into the new
    preset."""
    workers: Parallel = 1
    """Threads that load images ahead. Any number gives the same images."""
    strict: bool = False
    """Stop before the first step if a file cannot be used, instead of skipping it with a message.
    """
    keep_in_memory: bool = True
    """Keep the images in memory; false reads each one when it is needed, for data larger than
    memory."""
