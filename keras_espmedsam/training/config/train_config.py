"""The configuration of `espmedsam train`."""

from typing import Annotated, Any, Literal

import pydantic

from keras_espmedsam.training.config.data_settings import DataSettings
from keras_espmedsam.training.config.field_types import Names, Size
from keras_espmedsam.training.config.known_names import MaskLoss, check_names
from keras_espmedsam.training.config.model_settings import ModelSettings
from keras_espmedsam.training.config.parts import PARTS
from keras_espmedsam.training.config.phase_settings import PhaseSettings
from keras_espmedsam.training.config.run_config import (
    AppearanceSettings,
    AugmentationSettings,
    RunSettings,
)
from keras_espmedsam.training.config.settings import Settings


class AddModalitySettings(Settings):
    """A modality to add to a preset; only this modality is trained."""

    name: str
    """Name of the new modality."""
    init_from: str | None = None
    """Modality whose controller and query it starts from; null starts at random."""
    targets: Names | None = None
    """Names of its targets; null is one unnamed target."""


class TrainModelSettings(ModelSettings):
    """A segmenter, as in distillation, or a modality or targets to add to one."""

    add_modality: AddModalitySettings | None = None
    """Add a modality to the preset, and train only its controller and queries. The other modalities
    keep giving the same masks. All images are of the new modality. `espmedsam add-modality` is a
    shortcut for it."""
    train_only: Literal["added"] | None = None
    """`added`: train only what `add_targets` and `instances` add to the preset; all other masks
    stay the same, bit for bit. null: train all that the phases say. `espmedsam add-target` is a
    shortcut for it."""

    @property
    def new_targets(self) -> dict[str, list[str]]:
        added = super().new_targets
        if self.add_modality is not None and self.add_modality.targets:
            added[self.add_modality.name] = self.add_modality.targets
        return added

    @property
    def keeps_preset(self) -> bool:
        """Whether the masks of all that the preset has stay the same."""
        return self.add_modality is not None or self.train_only is not None

    @pydantic.model_validator(mode="after")
    def _of_a_trained_preset(self):
        key = "train_only" if self.add_modality is None else "add_modality"
        if self.keeps_preset and (self.preset is None or not self.load_weights):
            raise ValueError(
                f"{key} keeps what a preset has learnt; give a preset, with its weights."
            )
        if self.add_modality is None:
            if self.train_only and not (self.add_targets or self.instances):
                raise ValueError(
                    "train_only: added is given, but nothing is added; give add_targets or "
                    "instances."
                )
            return self
        if self.add_targets:
            raise ValueError(
                "all images are of the added modality, so targets of others would learn nothing; "
                "give add_modality its own targets, and add others in another run."
            )
        for modality in self.instances or {}:
            if modality != self.add_modality.name:
                raise ValueError(
                    f"instances are given for {modality}, but all images are of the added modality "
                    f"{self.add_modality.name}; give others theirs in another run."
                )
        return self


class TrainPhaseSettings(PhaseSettings):
    """One phase: an image size, the parts to train, and the learning rate."""

    image_size: Size | None = None
    """[height, width], or one number for both; null is the preset's."""
    resize_mode: Literal["pad", "stretch", "native"] | None = None
    """`pad`; `stretch`; or `native`, which resizes nothing, for encoders that take any size. null
    is the preset's, or `pad`."""
    parts: list[str] | Literal["all"] = "all"
    """What is trained: `all`, or some of shared_encoder, controllers, adapters (of vit_med),
    prompt_generator, decoder and queries. The rest is frozen, with its BatchNorm statistics."""
    modalities: list[str] | Literal["all"] = "all"
    """Modalities whose own parts, such as controllers, are trained."""
    batch_norm: Literal["train", "frozen"] = "train"
    """`frozen` keeps the statistics, scale and offset of BatchNorm as they are, such as those of a
    pretrained encoder; a step then takes less time."""
    augmentation: AugmentationSettings | None = None
    """Augmentation of this phase; null is the run's."""
    appearance: AppearanceSettings | None = None
    """Changes of appearance of this phase; null is the run's."""
    loss: MaskLoss = "standard"
    """`standard` (`DiceFocalLoss` for each image), `published` (over the batch, as in the authors'
    code), `DiceLoss`, `FocalLoss`, `BatchDiceLoss`, `MeanFocalLoss`, or a loss of another
    package; with arguments: {name: FocalLoss, gamma: 1.0}."""

    @pydantic.model_validator(mode="after")
    def _known_parts(self):
        if self.parts != "all":
            check_names(self.parts, PARTS, "the part")
        return self


class TrainConfig(RunSettings):
    """The configuration of `espmedsam train`; `examples/configs/train.yaml` explains every key.

    Example:
        >>> from keras_espmedsam.training.config.settings import load_settings
        >>> load_settings(TrainConfig, {"output": "run", "model": {"preset": "x"}, "dat": {}})
        Traceback (most recent call last):
        keras_espmedsam.errors.InputError: The configuration has the unknown key dat; did you mean \
data? Known keys: output, seed, precision, gradient_checkpointing, devices, tensorboard, \
early_stopping, augmentation, appearance, model, data, keras_augmentation, phases.
    """

    model: TrainModelSettings
    """The segmenter to train."""
    data: DataSettings
    """The images and masks."""
    keras_augmentation: list[dict[str, Any]] = []
    """Image layers of Keras that also change each batch, such as [{layer: RandomElasticTransform,
    factor: 0.3}]."""
    phases: Annotated[list[TrainPhaseSettings], pydantic.Field(min_length=1)]
    """The phases, in order. Each starts from the best weights of the one before."""

    @pydantic.model_validator(mode="after")
    def _of_what_is_added(self):
        added = self.model.add_modality
        if not self.model.keeps_preset:
            return self
        for source in self.data.sources:
            if added is not None and source.modality not in ("", added.name):
                raise ValueError(
                    f"all images are of the added modality {added.name}, but a source says "
                    f"modality: {source.modality}; leave that out."
                )
        for phase in self.phases:
            if (phase.parts, phase.modalities) != ("all", "all"):
                what = (
                    "with train_only: added only what is added is trained"
                    if added is None
                    else "with add_modality only the controller and the query of the added "
                    "modality are trained"
                )
                raise ValueError(f"{what}; leave parts and modalities of the phases out.")
        return self
