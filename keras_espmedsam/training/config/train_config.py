"""The configuration of `espmedsam train`."""

from typing import Annotated, Any, Literal

import pydantic

from keras_espmedsam.training.config.parts import PARTS
from keras_espmedsam.training.config.run_config import (
    AugmentationSettings,
    DataSettings,
    MaskLoss,
    ModelSettings,
    PhaseSettings,
    RunSettings,
    Size,
    check_names,
)
from keras_espmedsam.training.config.settings import Settings


class AddModalitySettings(Settings):
    """A modality that a preset gets in addition, and that alone is trained."""

    name: str
    init_from: str | None = None


class TrainModelSettings(ModelSettings):
    """A segmenter, as distillation has it too, or a modality that one gets in addition."""

    add_modality: AddModalitySettings | None = None

    @pydantic.model_validator(mode="after")
    def _of_a_trained_preset(self):
        if self.add_modality is not None and (self.preset is None or not self.load_weights):
            raise ValueError(
                "add_modality keeps what a preset has learnt; give a preset, with its weights."
            )
        return self


class TrainPhaseSettings(PhaseSettings):
    """One phase: a size of image, what is trained, and how fast."""

    image_size: Size | None = None
    resize_mode: Literal["pad", "stretch", "native"] | None = None
    parts: list[str] | Literal["all"] = "all"
    modalities: list[str] | Literal["all"] = "all"
    augmentation: AugmentationSettings | None = None
    loss: MaskLoss = "standard"

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
early_stopping, augmentation, model, data, keras_augmentation, phases.

    Source: ours.
    """

    model: TrainModelSettings
    data: DataSettings
    keras_augmentation: list[dict[str, Any]] = []
    phases: Annotated[list[TrainPhaseSettings], pydantic.Field(min_length=1)]

    @pydantic.model_validator(mode="after")
    def _of_an_added_modality(self):
        added = self.model.add_modality
        if added is None:
            return self
        for source in self.data.sources:
            if source.modality not in ("", added.name):
                raise ValueError(
                    f"all images are of the added modality {added.name}, and a source says "
                    f"modality: {source.modality}; leave that out."
                )
        for phase in self.phases:
            if (phase.parts, phase.modalities) != ("all", "all"):
                raise ValueError(
                    "of a model with add_modality the controller and the query of the added "
                    "modality are trained alone; leave parts and modalities of the phases out."
                )
        return self
