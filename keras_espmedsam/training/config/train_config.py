"""The configuration of `espmedsam train`."""

from typing import Annotated, Any, Literal

import pydantic

from keras_espmedsam.training.config.run_config import (
    DataSettings,
    ModelSettings,
    PhaseSettings,
    RunSettings,
    Size,
    check_names,
)
from keras_espmedsam.training.trainable_parts import PARTS


class TrainPhaseSettings(PhaseSettings):
    """One phase: a size of image, what is trained, and how fast."""

    image_size: Size | None = None
    resize_mode: Literal["pad", "stretch", "native"] | None = None
    parts: list[str] | Literal["all"] = "all"
    modalities: list[str] | Literal["all"] = "all"
    loss: Literal["standard", "published"] = "standard"

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

    model: ModelSettings
    data: DataSettings
    keras_augmentation: list[dict[str, Any]] = []
    phases: Annotated[list[TrainPhaseSettings], pydantic.Field(min_length=1)]
