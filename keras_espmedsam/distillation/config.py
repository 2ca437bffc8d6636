"""The configuration of `espmedsam distill`."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import pydantic

from keras_espmedsam.distillation.phases import DistillationPhase, named_phase
from keras_espmedsam.distillation.phases.named_phase import phases_with
from keras_espmedsam.distillation.teacher_size import check_teacher_size
from keras_espmedsam.distillation.variants import VARIANTS
from keras_espmedsam.registries import distillation_phases, feature_losses, losses
from keras_espmedsam.training.config.data_settings import DataSettings
from keras_espmedsam.training.config.field_types import (
    Count,
    Existing,
    Positive,
    PresetName,
    Size,
)
from keras_espmedsam.training.config.known_names import MaskLoss, check_names, named_loss, one_of
from keras_espmedsam.training.config.model_settings import ModelSettings
from keras_espmedsam.training.config.parts import PARTS
from keras_espmedsam.training.config.phase_settings import PhaseSettings
from keras_espmedsam.training.config.run_config import RunSettings
from keras_espmedsam.training.config.settings import Settings


class TeacherSettings(Settings):
    """A common teacher: any image encoder, and what it expects."""

    name: Annotated[str, pydantic.Field(pattern=r"^[A-Za-z]\w*$")]
    """Name of the teacher in the learning curves."""
    preset: PresetName | None = None
    """A preset, such as one that `espmedsam convert sam` writes. Give one of preset, keras_hub and
    file."""
    keras_hub: str | None = None
    """A preset of keras-hub, such as sam_base_sa1b, which is downloaded."""
    file: Existing | None = None
    """A .keras file."""
    normalization: Literal["imagenet", "released", "unit", "bytes"] = "imagenet"
    """What the teacher expects: `imagenet`, `released`, `unit` (0 to 1) or `bytes` (0 to 255)."""
    image_size: Size | None = None
    """Size to which its images are brought, [height, width] or one number for both; null is its
    own, or the student's."""

    @pydantic.model_validator(mode="after")
    def _one_of_three(self):
        if sum(value is not None for value in (self.preset, self.keras_hub, self.file)) != 1:
            raise ValueError("give one of preset, keras_hub and file.")
        return self


def _loss_of_term(value: Any, info: pydantic.ValidationInfo) -> str | dict[str, Any] | None:
    of_masks = info.data.get("student") == _MASKS
    if of_masks and value is None:
        return None
    check = named_loss(losses if of_masks else feature_losses).func
    return cast(Callable[[Any], str | dict[str, Any]], check)(value)


class FeatureLossSettings(Settings):
    """One term of the loss: which feature of the student is compared with which of the teacher."""

    student: str = "embedding"
    """Feature of the student: embedding, stage_0, stage_1, ...; or masks, which learn from those of
    the medical teacher, target by target."""
    teacher: str | None = None
    """Feature of the teacher: embedding, or block_0, ... of a ViT; null is the student's."""
    loss: Annotated[str | dict[str, Any] | None, pydantic.PlainValidator(_loss_of_term)] = "mse"
    """`mse` as published, `cosine`, `normalized_mse`, or a loss of another package; with arguments:
    {name: normalized_mse, epsilon: 1e-3}. Of masks: null, the cross-entropy of teacher and student,
    or a loss as `label_loss`."""
    weight: Positive = 1.0
    """Factor of this term."""

    @pydantic.model_validator(mode="before")
    @classmethod
    def _masks_have_another_default(cls, data):
        if isinstance(data, dict) and data.get("student") == _MASKS:
            return {"loss": None, **data}
        return data

    @pydantic.model_validator(mode="after")
    def _masks_learn_from_masks(self):
        if (self.student == _MASKS) != ((self.teacher or self.student) == _MASKS):
            raise ValueError(
                "masks learn from masks, and features from features; leave teacher out, or give "
                "the other one, too."
            )
        return self

    @property
    def of_masks(self) -> bool:
        """Whether masks are compared, not features of the encoder."""
        return self.student == _MASKS


_MASKS = "masks"


class CacheSettings(Settings):
    """Where teachers' features are kept, and of which views of an image."""

    folder: Path
    """Folder of the features. Their size on disk is printed before they are computed."""
    variants: list[str] = ["identity"]
    """Views of each image that are stored, out of identity, hflip, vflip, rot90, rot180, rot270,
    transpose and antitranspose."""

    @pydantic.model_validator(mode="after")
    def _known_variants(self):
        check_names(self.variants, VARIANTS, "the variant")
        return self


class DistillPhaseSettings(PhaseSettings):
    """One phase; defaults are those of its `DistillationPhase`."""

    # Phases of other packages may have keys of their own.
    model_config = pydantic.ConfigDict(extra="allow")

    phase: Annotated[str, one_of(distillation_phases)]
    """`common`, `teacher`, `controllers`, `both` or `joint`, or a phase of another package."""
    batch_size: Count = 4
    """Images in a batch, on all devices together."""
    common_batch_size: Count | None = None
    """Common images in each batch; null is `batch_size`."""
    one_modality_per_batch: bool | None = None
    """Whether each batch is of one modality; null is as published: in the phases teacher and
    controllers."""
    losses: Annotated[list[FeatureLossSettings], pydantic.Field(min_length=1)] = [
        FeatureLossSettings()
    ]
    """Terms of the loss: which feature of the student learns which of the teacher."""
    label_loss: MaskLoss = "standard"
    """Loss of the masks: `standard` (for each image), `published` (over the batch), or another; see
    `phases.0.loss` of training."""
    label_weight: Positive = 1.0
    """Factor of the loss of the masks."""
    use_teacher: bool = True
    """Whether the phase joint also learns the medical teacher's embeddings."""
    copy_decoder: bool = True
    """Copy the decoder, prompt generator and queries of the medical teacher at the start of the
    phase."""
    parts: list[str] | Literal["all"] | None = None
    """What of the teacher is trained; see `phases.0.parts` of training. null is what the paper adds
    to SAM: adapters, prompt_generator, decoder and queries. Use `all` for a teacher with random
    weights."""

    @classmethod
    def known_keys(cls, data):
        phase = data.get("phase")
        # For an unknown phase, report the phase, not its keys.
        own = named_phase(phase).keys if phase in distillation_phases else data
        return tuple(dict.fromkeys((*super().known_keys(data), *own)))

    @pydantic.model_validator(mode="before")
    @classmethod
    def _published(cls, data):
        """Fill in the published defaults; given values are kept."""
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
        of_masks = [term.of_masks for term in self.losses]
        if "common" in getattr(self.kind, "streams", ()) and all(of_masks):
            raise ValueError(
                "common teachers have no masks; add a term of a feature, such as "
                "{student: embedding}."
            )
        return self

    @property
    def kind(self) -> DistillationPhase:
        """The phase object itself."""
        return named_phase(self.phase)

    @property
    def one_modality(self) -> bool:
        """Whether each batch is of one modality: as published unless the configuration says so."""
        if self.one_modality_per_batch is not None:
            return self.one_modality_per_batch
        return self.kind.one_modality_per_batch and self.steps is not None


# Keys with a meaning only in phases whose `keys` name them.
_OF_SOME_PHASES = (
    set(DistillPhaseSettings.model_fields) - set(PhaseSettings.model_fields) - {"phase"}
)


class DistillConfig(RunSettings):
    """The configuration of `espmedsam distill`; `examples/configs/distill.yaml` explains every key.

    Example:
        >>> from keras_espmedsam.training.config.settings import load_settings
        >>> student = {"preset": "espmedsam_nano_256"}
        >>> config = {"output": "run", "student": student, "phases": [{"phase": "controllers"}]}
        >>> load_settings(DistillConfig, config)
        Traceback (most recent call last):
        keras_espmedsam.errors.InputError: The configuration cannot be used: the phase controllers \
needs data.
    """

    student: ModelSettings
    """The model that learns."""
    image_size: Size | None = None
    """Size of the student's images, [height, width] or one number for both; null is the student's
    own."""
    resize_mode: Literal["pad", "stretch"] | None = None
    """`pad` or `stretch`; null is the student's own."""
    teacher_image_size: Size | None = None
    """Size at which the teachers see images, if it is larger: images are read and augmented at this
    size, and made smaller for the student. Of the same shape; null is `image_size`. Not with a
    cache."""
    common_teachers: list[TeacherSettings] = []
    """Teachers of common knowledge: any image encoders, which stay frozen."""
    medical_teacher: ModelSettings | None = None
    """The teacher of medical knowledge. The phase teacher trains it; without that phase it is used
    as it is."""
    common_data: DataSettings | None = None
    """Images of common knowledge, natural or unlabelled."""
    data: DataSettings | None = None
    """Images of the modalities, with masks."""
    cache: CacheSettings | None = None
    """Store the teachers' features on disk, so that an epoch needs no teacher. Images are then seen
    in the stored views and not augmented. Without this section the teachers see each batch."""
    phases: Annotated[list[DistillPhaseSettings], pydantic.Field(min_length=1)]
    """The phases, in order. Each starts from the best weights of the one before."""

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
        if self.teacher_image_size is not None:
            own = self.image_size or self.teacher_image_size
            check_teacher_size(self.teacher_image_size, own, self.cache is not None)
        names = [teacher.name for teacher in self.common_teachers]
        if len(set(names)) < len(names):
            raise ValueError("two common teachers have the same name.")
        return self
