"""Settings of every run, of training and of distillation."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import pydantic

from keras_espmedsam.errors import InputError
from keras_espmedsam.training.config.field_types import Count, Parallel
from keras_espmedsam.training.config.settings import Settings
from keras_espmedsam.training.data.appearance.make_appearance import make_appearance


class EarlyStoppingSettings(Settings):
    """When a phase ends before its epochs are done."""

    patience: Count = 10
    """Epochs without improvement after which a phase ends."""


# By modality or data set, the arguments of `Augmentation`.
AugmentationSettings = dict[str, dict[str, Any]] | Literal["medical", "none"]


def _appearance(value):
    # Here, not when the images are augmented: before Keras is imported and a file is read.
    try:
        make_appearance(value)
    except InputError as error:
        raise ValueError(str(error)) from error
    return value


# By transform, its arguments or its probability alone.
AppearanceSettings = Annotated[
    dict[str, dict[str, Any] | float] | Literal["standard", "none"],
    pydantic.BeforeValidator(_appearance),
]


class RunSettings(Settings):
    """Settings of every run."""

    output: Path
    """Folder of the run, new or empty at first. The same command resumes what it finds there."""
    # NumPy's.
    seed: Annotated[int, pydantic.Field(strict=True, ge=0, lt=2**32)] = 0
    """Seed of the random weights, of the order of the images and of their augmentation."""
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32"
    """float32; mixed_bfloat16, for GPUs since Ampere and TPUs; or mixed_float16, for older GPUs.
    Weights stay in float32."""
    gradient_checkpointing: bool = False
    """Recompute the inside of the encoder's blocks in the backward pass: less memory, more time."""
    devices: Parallel = 1
    """Devices that share each batch."""
    tensorboard: bool = False
    """Also write a log for TensorBoard."""
    early_stopping: EarlyStoppingSettings | None = None
    """End a phase when its validation no longer improves. Without this section, all epochs are
    done."""
    augmentation: AugmentationSettings = "medical"
    """`medical`, the ranges of `keras_espmedsam.training.MEDICAL_RANGES`; `none`; or the arguments
    of `Augmentation` for each modality or data set, with `default` for all others."""
    appearance: AppearanceSettings = "none"
    """Random changes of how images look, after `augmentation`, so that a model holds for other
    cameras: `standard`, all of fourier_mixing, illumination, channel_gain, gamma, blur, noise and
    jpeg; `none`; or some with their probability or arguments, such as {fourier_mixing: 0.5, jpeg:
    {probability: 0.3, quality: [40, 90]}}. `augmentation.NAME.appearance` is for one modality or
    data set."""
    if TYPE_CHECKING:  # Each run defines this field itself, with its own kind of phase.
        phases: list[Any]

    @pydantic.model_validator(mode="after")
    def _weights_of_what_is_drawn(self):
        for key in ("data", "common_data"):
            weights = getattr(getattr(self, key, None), "weights", None)
            if weights and not any(phase.steps for phase in self.phases):
                raise ValueError(
                    f"{key}.weights change how images are drawn, but with steps: null each phase "
                    "shows every image once; give steps, or leave the weights out."
                )
        return self

    def phase_folders(self) -> list[Path]:
        """The folder of each phase: its number and name, in the run's folder."""
        names = [phase.name or getattr(phase, "phase", "phase") for phase in self.phases]
        return [self.output / f"{i}-{name}" for i, name in enumerate(names, start=1)]
