"""The configuration of `espmedsam distill`."""

from pathlib import Path
from typing import Annotated, Literal

import pydantic

from keras_espmedsam.distillation.phases import DistillationPhase, named_phase
from keras_espmedsam.distillation.phases.named_phase import phases_with
from keras_espmedsam.distillation.variants import VARIANTS
from keras_espmedsam.registries import distillation_phases
from keras_espmedsam.training.config.parts import PARTS
from keras_espmedsam.training.config.run_config import (
    Count,
    DataSettings,
    Existing,
    FeaturesLoss,
    MaskLoss,
    ModelSettings,
    PhaseSettings,
    Positive,
    RunSettings,
    Size,
    check_names,
    one_of,
)
from keras_espmedsam.training.config.settings import Settings


class TeacherSettings(Settings):
    """A common teacher: any image encoder, and what it expects."""

    name: Annotated[str, pydantic.Field(pattern=r"^[A-Za-z]\w*$")]
    preset: str | None = None
    keras_hub: str | None = None
    file: Existing | None = None
    normalization: Literal["imagenet", "released", "unit", "bytes"] = "imagenet"
    image_size: Size | None = None

    @pydantic.model_validator(mode="after")
    def _one_of_three(self):
        if sum(value is not None for value in (self.preset, self.keras_hub, self.file)) != 1:
            raise ValueError("give one of preset, keras_hub and file.")
        return self


class FeatureLossSettings(Settings):
    """One term of the loss: which feature of the student is compared with which of the teacher."""

    student: str = "embedding"
    teacher: str | None = None
    loss: FeaturesLoss = "mse"
    weight: Positive = 1.0


class CacheSettings(Settings):
    """Where teachers' features are kept, and of which views of an image."""

    folder: Path
    variants: list[str] = ["identity"]

    @pydantic.model_validator(mode="after")
    def _known_variants(self):
        check_names(self.variants, VARIANTS, "the variant")
        return self


class DistillPhaseSettings(PhaseSettings):
    """One phase; what it does not say is as its `DistillationPhase` has it."""

    # Phases of other packages may have keys of their own.
    model_config = pydantic.ConfigDict(extra="allow")

    phase: Annotated[str, one_of(distillation_phases)]
    batch_size: Count = 4
    common_batch_size: Count | None = None
    one_modality_per_batch: bool | None = None
    losses: Annotated[list[FeatureLossSettings], pydantic.Field(min_length=1)] = [
        FeatureLossSettings()
    ]
    label_loss: MaskLoss = "standard"
    label_weight: Positive = 1.0
    use_teacher: bool = True
    copy_decoder: bool = True
    parts: list[str] | Literal["all"] | None = None

    @classmethod
    def known_keys(cls, data):
        phase = data.get("phase")
        # Of an unknown phase that is what is wrong, and not its keys.
        own = named_phase(phase).keys if phase in distillation_phases else data
        return tuple(dict.fromkeys((*super().known_keys(data), *own)))

    @pydantic.model_validator(mode="before")
    @classmethod
    def _published(cls, data):
        """What is published; of what is given, nothing is changed."""
        if not isinstance(data, dict) or data.get("phase") not in distillation_phases:
            return data
        kind = named_phase(data["phase"])
        data = {"epochs": kind.epochs, **data}
        for key, published in (
            ("learning_rate", {"rate": kind.learning_rate, "schedule": "exponential"}),
            ("optimizer", {"name": "adam"}),
        ):
            given = data.get(key, {})
            if isinstance(given, dict):
                data[key] = {**published, **given}
        return data

    @pydantic.model_validator(mode="after")
    def _of_the_phase(self):
        for key in self.model_fields_set & _OF_SOME_PHASES:
            if key not in self.kind.keys and getattr(self, key) is not None:
                phases = phases_with(lambda phase, key=key: key in phase.keys)
                raise ValueError(
                    f"{key} belongs to the phase {' or '.join(phases)}, not to {self.phase}."
                )
        if self.parts is not None and self.parts != "all":
            check_names(self.parts, PARTS, "the part")
        return self

    @property
    def kind(self) -> DistillationPhase:
        """The phase itself."""
        return named_phase(self.phase)

    @property
    def one_modality(self) -> bool:
        """Whether each batch is of one modality: as published, unless the configuration says."""
        if self.one_modality_per_batch is not None:
            return self.one_modality_per_batch
        return self.kind.one_modality_per_batch and self.steps is not None


# What has a meaning in the phases alone whose `keys` it is one of.
_OF_SOME_PHASES = (
    set(DistillPhaseSettings.model_fields) - set(PhaseSettings.model_fields) - {"phase"}
)


class DistillConfig(RunSettings):
    """The configuration of `espmedsam distill`; `examples/configs/distill.yaml` explains it all.

    Example:
        >>> from keras_espmedsam.training.config.settings import load_settings
        >>> student = {"preset": "espmedsam_nano_256"}
        >>> config = {"output": "run", "student": student, "phases": [{"phase": "controllers"}]}
        >>> load_settings(DistillConfig, config)
        Traceback (most recent call last):
        keras_espmedsam.errors.InputError: The configuration cannot be used: the phase controllers \
needs data.

    Source: ours.
    """

    student: ModelSettings
    image_size: Size | None = None
    resize_mode: Literal["pad", "stretch"] | None = None
    common_teachers: list[TeacherSettings] = []
    medical_teacher: ModelSettings | None = None
    common_data: DataSettings | None = None
    data: DataSettings | None = None
    cache: CacheSettings | None = None
    phases: Annotated[list[DistillPhaseSettings], pydantic.Field(min_length=1)]

    @pydantic.model_validator(mode="after")
    def _what_phases_need(self):
        for phase in self.phases:
            for key in phase.kind.needs:
                if not getattr(self, key):
                    raise ValueError(f"the phase {phase.phase} needs {key}.")
        if all(phase.kind.trains != "student" for phase in self.phases):
            raise ValueError(
                "no phase trains the student; add one, or train the teacher with espmedsam train."
            )
        names = [teacher.name for teacher in self.common_teachers]
        if len(set(names)) < len(names):
            raise ValueError("two common teachers have the same name.")
        return self
