"""The sections that the configurations of training and of distillation have in common."""

import os
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import pydantic
import pydantic_core

from keras_espmedsam._shown import shown
from keras_espmedsam.errors import InputError, did_you_mean
from keras_espmedsam.imaging.intensity import parse_intensity
from keras_espmedsam.registries import Registry, feature_losses, image_encoders, losses
from keras_espmedsam.training.config.settings import Settings

# What a system counts with; TensorFlow's and Keras' sizes are no greater.
Count = Annotated[int, pydantic.Field(strict=True, ge=1, le=2**31 - 1)]
# NaN is above and below nothing, and .inf is no rate.
Positive = Annotated[float, pydantic.Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, pydantic.Field(ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, pydantic.Field(gt=0, lt=1, allow_inf_nan=False)]
# Threads, processes or devices of one machine.
Parallel = Annotated[int, pydantic.Field(strict=True, ge=1, le=1024)]
# Pixels of a side.
Side = Annotated[int, pydantic.Field(strict=True, ge=1, le=65_536)]
# (height, width), or one number for both.
Size = Annotated[
    tuple[Side, Side],
    pydantic.BeforeValidator(lambda size: (size, size) if isinstance(size, int) else size),
]


def _existing(path: Path) -> Path:
    path = Path(os.path.expandvars(path)).expanduser()
    if "$" in str(path):
        raise ValueError(f"{path} names a variable of the environment that is not set.")
    # Unlike pathlib's, of a name of any length and with any character.
    if not os.path.exists(path):
        raise ValueError(f"{path} does not exist; paths are relative to where the command is run.")
    return path


Existing = Annotated[Path, pydantic.AfterValidator(_existing)]


def _intensity(value):
    if isinstance(value, int | float):  # YAML takes 100:45 for minutes and seconds
        raise ValueError("write black and white as a list, [0, 4095], or as '0:4095' in quotes.")
    try:
        return parse_intensity(value)
    except InputError as error:
        raise ValueError(str(error)) from error


# Checked once, so that a pair stays one.
Intensity = Annotated[str | tuple[float, float] | None, pydantic.BeforeValidator(_intensity)]


def one_of(registry: Registry) -> pydantic.AfterValidator:
    """A name that a registry has, be it of another package.

    Args:
        registry: a table of `keras_espmedsam.registries`.

    Example:
        >>> class Encoder(Settings):
        ...     kind: Annotated[str, one_of(image_encoders)]
        >>> Encoder(kind="tic").kind
        'tic'

    Source: ours.
    """
    return pydantic.AfterValidator(lambda name: _known_name(registry, name))


def named_loss(registry: Registry) -> pydantic.PlainValidator:
    """A loss's name, or a mapping of its `name` and arguments, which are checked when it is made.

    Args:
        registry: a table of losses of `keras_espmedsam.registries`.

    Example:
        >>> class Phase(Settings):
        ...     loss: Annotated[str | dict[str, Any], named_loss(losses)] = "standard"
        >>> Phase(loss={"name": "FocalLoss", "gamma": 1}).loss
        {'name': 'FocalLoss', 'gamma': 1}

    Source: ours.
    """

    def checked(value: Any) -> str | dict[str, Any]:
        arguments = dict(value) if isinstance(value, Mapping) else {"name": value}
        name = arguments.get("name")
        if not isinstance(name, str):
            raise pydantic_core.PydanticCustomError(
                "no_name", "a name, or its name and arguments: {name: NAME, ARGUMENT: VALUE}"
            )
        _known_name(registry, name)
        return name if len(arguments) == 1 else arguments

    return pydantic.PlainValidator(checked)


def _known_name(registry, name):
    known = registry.names()
    if name not in known:
        *others, last = map(repr, known)
        raise pydantic_core.PydanticCustomError(
            "unknown_name",
            "{known}{hint}",
            {
                "known": f"{', '.join(others)} or {last}" if others else last,
                "hint": did_you_mean(name, known),
            },
        )
    return name


MaskLoss = Annotated[str | dict[str, Any], named_loss(losses)]
FeaturesLoss = Annotated[str | dict[str, Any], named_loss(feature_losses)]


class EncoderSettings(Settings):
    """An image encoder: its kind, and arguments of its class, which are checked when it is made."""

    model_config = pydantic.ConfigDict(extra="allow")
    kind: Annotated[str, one_of(image_encoders)]

    @pydantic.model_validator(mode="before")
    @classmethod
    def _known_keys_only(cls, data):
        return data


class DecoderSettings(Settings):
    """The arguments of `ESPMedSAMBackbone` beside the encoder and the modalities."""

    num_queries: Count | None = None
    transformer_depth: Count = 2
    transformer_num_heads: Count = 8
    transformer_mlp_dim: Count = 2048
    shared_hypernetwork: bool = True
    detail_dims: list[Count] = []
    self_prompts: bool = True


class ModelSettings(Settings):
    """A segmenter: a preset to start from, or an encoder to start anew with."""

    preset: str | None = None
    load_weights: bool = True
    encoder: EncoderSettings | None = None
    decoder: DecoderSettings | None = None
    modalities: Annotated[list[str], pydantic.Field(min_length=1)] | None = None
    controllers: bool | None = None
    normalization: Literal["imagenet", "released"] | None = None

    @pydantic.model_validator(mode="after")
    def _one_of_both(self):
        if (self.preset is None) == (self.encoder is None):
            raise ValueError("give either preset or encoder.")
        for key in ("decoder", "modalities", "controllers", "normalization"):
            if self.preset is not None and getattr(self, key) is not None:
                raise ValueError(f"a preset brings its own {key}; give {key} with an encoder only.")
        return self


class SourceSettings(Settings):
    """Where images come from: an index, a folder, or a JSON file of splits."""

    index: Existing | None = None
    folder: Existing | None = None
    splits: Existing | None = None
    modality: str = ""
    datasets: list[str] | None = None
    dataset: str | None = None
    split: str | None = None
    images: Path | None = None
    masks: Path | None = None
    group: str | None = None
    merge_masks: bool = False
    intensity: Intensity = None

    @pydantic.model_validator(mode="after")
    def _of_one_kind(self):
        given = [name for name in ("index", "splits", "folder") if getattr(self, name) is not None]
        # A file of splits may name the folder that its paths are relative to.
        if not given or (len(given) > 1 and given != ["splits", "folder"]):
            raise ValueError("give one of index, folder and splits.")
        allowed = {
            "index": ("datasets", "modality", "intensity"),
            "folder": (
                *("modality", "dataset", "split", "masks", "group", "merge_masks", "intensity"),
            ),
            "splits": ("modality", "folder", "dataset", "images", "masks", "intensity"),
        }[given[0]]
        for name in self.model_fields_set - {given[0], *allowed}:
            raise ValueError(
                f"{name} does not go with {given[0]}, which takes {', '.join(allowed)}."
            )
        return self


class DataSettings(Settings):
    """Images, and how they are drawn."""

    sources: Annotated[list[SourceSettings], pydantic.Field(min_length=1)]
    split_fractions: dict[str, Positive] | None = None
    train_splits: list[str] = ["train"]
    val_splits: list[str] = ["val"]
    balance: Literal["dataset", "modality"] | None = "dataset"
    weights: dict[str, NonNegative] | None = None
    intensity: Intensity = None
    workers: Parallel = 1
    strict: bool = False
    keep_in_memory: bool = True


class LearningRateSettings(Settings):
    """A learning rate over the steps of a phase."""

    rate: Positive = 1e-4
    schedule: Literal["constant", "exponential", "cosine"] = "constant"
    decay_per_epoch: Positive = 0.98
    warmup_steps: Annotated[int, pydantic.Field(strict=True, ge=0, le=2**31 - 1)] = 0
    final_rate: NonNegative = 0.0

    @pydantic.model_validator(mode="after")
    def _of_the_schedule(self):
        for key, schedule in (
            ("decay_per_epoch", "exponential"),
            ("warmup_steps", "cosine"),
            ("final_rate", "cosine"),
        ):
            if key in self.model_fields_set and self.schedule != schedule:
                raise ValueError(
                    f"{key} belongs to schedule: {schedule}; the schedule is {self.schedule}."
                )
        return self


class OptimizerSettings(Settings):
    """The optimiser, which `DecoupledOptimizer` makes one of for each modality."""

    name: Literal["adam", "adamw", "lion", "nadam", "sgd"] = "adamw"
    weight_decay: NonNegative | None = None
    momentum: NonNegative | None = None
    clipnorm: Positive | None = None
    global_clipnorm: Positive | None = None
    accumulation_steps: Count | None = None
    ema_momentum: Fraction | None = None
    layer_decay: Fraction | None = None

    @pydantic.model_validator(mode="after")
    def _that_go_together(self):
        if self.momentum is not None and self.name != "sgd":
            raise ValueError(f"momentum belongs to sgd; the optimizer is {self.name}.")
        if self.clipnorm is not None and self.global_clipnorm is not None:
            raise ValueError("give clipnorm or global_clipnorm, not both.")
        return self


class EarlyStoppingSettings(Settings):
    """When a phase ends before its epochs are done."""

    patience: Count = 10


class PhaseSettings(Settings):
    """What all phases have."""

    name: Annotated[str, pydantic.Field(pattern=r"^[\w.-]+$")] | None = None
    epochs: Count = 1
    steps: Count | None = 100
    batch_size: Count = 16
    learning_rate: LearningRateSettings = LearningRateSettings()
    optimizer: OptimizerSettings = OptimizerSettings()

    def weights_of(self, data: DataSettings) -> dict[str, float] | None:
        """The weights by which images are drawn; None where each is shown once."""
        return data.weights if self.steps else None


# By modality or data set, the arguments of `Augmentation`.
AugmentationSettings = dict[str, dict[str, Any]] | Literal["medical", "none"]


class RunSettings(Settings):
    """What all runs have."""

    output: Path
    # NumPy's.
    seed: Annotated[int, pydantic.Field(strict=True, ge=0, lt=2**32)] = 0
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32"
    gradient_checkpointing: bool = False
    devices: Parallel = 1
    tensorboard: bool = False
    early_stopping: EarlyStoppingSettings | None = None
    augmentation: AugmentationSettings = "medical"
    if TYPE_CHECKING:  # A field of each run's own, with phases of its kind.
        phases: list[Any]

    @pydantic.model_validator(mode="after")
    def _weights_of_what_is_drawn(self):
        for key in ("data", "common_data"):
            weights = getattr(getattr(self, key, None), "weights", None)
            if weights and not any(phase.steps for phase in self.phases):
                raise ValueError(
                    f"{key}.weights change what is drawn, but with steps: null each phase shows "
                    "every image once; give steps, or leave the weights out."
                )
        return self

    def phase_folders(self) -> list[Path]:
        """The folder of each phase: its number and name, in the folder of the run."""
        names = [phase.name or getattr(phase, "phase", "phase") for phase in self.phases]
        return [self.output / f"{i}-{name}" for i, name in enumerate(names, start=1)]


def check_names(found: Iterable[str], known: Collection[str], what: str) -> None:
    """Refuse names that are not known.

    Raises:
        ValueError: with the known ones.
    """
    for name in found:
        if name not in known:
            raise ValueError(
                f"{what} {shown(name)} is unknown{did_you_mean(name, known)} "
                f"Known: {', '.join(known)}."
            )
