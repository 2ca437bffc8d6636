"""Sections shared by the configurations of training and distillation."""

import os
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import pydantic
import pydantic_core

from keras_espmedsam._shown import shown
from keras_espmedsam.data.label_table import labels_text, parse_labels
from keras_espmedsam.data.targets import DEFAULT_INSTANCE_KIND, Targets
from keras_espmedsam.errors import InputError, did_you_mean
from keras_espmedsam.imaging.intensity import parse_intensity
from keras_espmedsam.registries import Registry, feature_losses, image_encoders, losses
from keras_espmedsam.training.config.settings import Settings

# Largest size that systems, TensorFlow and Keras can count with.
Count = Annotated[int, pydantic.Field(strict=True, ge=1, le=2**31 - 1)]
# NaN compares as neither above nor below anything, and .inf is not a rate.
Positive = Annotated[float, pydantic.Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, pydantic.Field(ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, pydantic.Field(gt=0, lt=1, allow_inf_nan=False)]
# Threads, processes or devices of one machine.
Parallel = Annotated[int, pydantic.Field(strict=True, ge=1, le=1024)]
# Pixels per side.
Side = Annotated[int, pydantic.Field(strict=True, ge=1, le=65_536)]
# (height, width), or one number for both.
Size = Annotated[
    tuple[Side, Side],
    pydantic.BeforeValidator(lambda size: (size, size) if isinstance(size, int) else size),
]


def _existing(path: Path) -> Path:
    path = Path(os.path.expandvars(path)).expanduser()
    if "$" in str(path):
        raise ValueError(f"{path} names an environment variable that is not set.")
    # Unlike pathlib's, this takes a name of any length and with any character.
    if not os.path.exists(path):
        raise ValueError(f"{path} does not exist; paths are relative to where the command is run.")
    return path


Existing = Annotated[Path, pydantic.AfterValidator(_existing)]


def _intensity(value):
    if isinstance(value, int | float):  # YAML reads 100:45 as minutes and seconds.
        raise ValueError("write black and white as a list, [0, 4095], or as '0:4095' in quotes.")
    try:
        return parse_intensity(value)
    except InputError as error:
        raise ValueError(str(error)) from error


# Checked once, so that a pair stays a pair.
Intensity = Annotated[str | tuple[float, float] | None, pydantic.BeforeValidator(_intensity)]


def _labels(value):
    try:
        return None if value is None else labels_text(parse_labels(value))
    except InputError as error:
        raise ValueError(str(error)) from error


# One text for a table and its text, so that a run that is resumed has the same.
Labels = Annotated[str | None, pydantic.BeforeValidator(_labels)]


def one_of(registry: Registry) -> pydantic.AfterValidator:
    """Check that a name is in a registry, including names from other packages.

    Args:
        registry: a table of `keras_espmedsam.registries`.

    Example:
        >>> class Encoder(Settings):
        ...     kind: Annotated[str, one_of(image_encoders)]
        >>> Encoder(kind="tic").kind
        'tic'
    """
    return pydantic.AfterValidator(lambda name: _known_name(registry, name))


def named_loss(registry: Registry) -> pydantic.PlainValidator:
    """Check a loss: its name, or a mapping of `name` and arguments; arguments are checked later.

    Args:
        registry: a table of losses of `keras_espmedsam.registries`.

    Example:
        >>> class Phase(Settings):
        ...     loss: Annotated[str | dict[str, Any], named_loss(losses)] = "standard"
        >>> Phase(loss={"name": "FocalLoss", "gamma": 1}).loss
        {'name': 'FocalLoss', 'gamma': 1}
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
    """An image encoder: its kind and arguments of its class, which are checked when it is built."""

    model_config = pydantic.ConfigDict(extra="allow")
    kind: Annotated[str, one_of(image_encoders)]
    """`tiny_vit`, `tic`, `vit_med` or `keras_hub`, or an encoder of another package. The other keys
    are arguments of its class: `TinyViTBackbone`, `TiCBackbone`, `ViTMedBackbone` or
    `KerasHubImageEncoder`."""

    @pydantic.model_validator(mode="before")
    @classmethod
    def _known_keys_only(cls, data):
        return data


class DecoderSettings(Settings):
    """The arguments of `ESPMedSAMBackbone` besides the encoder and the modalities."""

    num_queries: Count | None = None
    """Queries of the decoder; null is one more than there are modalities."""
    transformer_depth: Count = 2
    """Two-way attention blocks."""
    transformer_num_heads: Count = 8
    """Attention heads of each block."""
    transformer_mlp_dim: Count = 2048
    """Width of the MLP in each block."""
    shared_hypernetwork: bool = True
    """Whether all queries share one hypernetwork; false gives each its own."""
    detail_dims: list[Count] = []
    """Channels of the detail branch, such as [12, 16, 24], which draws masks at the image's own
    resolution; an empty list leaves it out."""
    self_prompts: bool = True
    """Whether the model prompts itself with patches; false is for ablations."""


class AddTargetSettings(Settings):
    """A target that is added to a modality of a preset."""

    name: str
    """Name of the target."""
    init_from: str | None = None
    """Target of the same modality that it begins as; null begins with random weights."""
    adapter_dim: Annotated[int, pydantic.Field(strict=True, ge=0, le=65_536)] = 0
    """Hidden width of its adapter of the image features, such as 16; 0 is none."""


# A plain name is a target without settings.
AddedTarget = Annotated[
    AddTargetSettings,
    pydantic.BeforeValidator(lambda value: {"name": value} if isinstance(value, str) else value),
]


def _listed(value):
    """Return a list also for a single item."""
    return [value] if isinstance(value, str) or hasattr(value, "items") else value


def _kinds(value):
    """Return how the objects of each target are told apart, of names alone in the usual way."""
    if isinstance(value, str | list) and all(isinstance(name, str) for name in _listed(value)):
        return dict.fromkeys(_listed(value), DEFAULT_INSTANCE_KIND)
    return value


Names = Annotated[list[str], pydantic.BeforeValidator(_listed)]
Kinds = Annotated[
    dict[str, Literal["boundary", "core", "components"]], pydantic.BeforeValidator(_kinds)
]
_OF_A_NEW_MODEL = {
    "decoder": "a preset brings its own decoder",
    "modalities": "a preset brings its own modalities",
    "controllers": "a preset brings its own controllers",
    "normalization": "a preset brings its own normalization",
    "targets": "a preset brings its own targets; name them by name_targets, and give it more by "
    "add_targets",
    "target_adapters": "a preset brings its own target_adapters; give those of new targets an "
    "adapter_dim in add_targets",
    "self_prompt_targets": "a preset brings its own self_prompt_targets",
}


class ModelSettings(Settings):
    """A segmenter: a preset to start from, or an encoder to start from scratch with."""

    preset: str | None = None
    """A built-in name, a folder, or `hf://org/name`. Give either this or `encoder`."""
    load_weights: bool = True
    """Whether to load the preset's weights; false keeps only its architecture, with random weights.
    """
    encoder: EncoderSettings | None = None
    """The image encoder of a new model."""
    decoder: DecoderSettings | None = None
    """The decoder of a new model; only with `encoder`."""
    modalities: Annotated[list[str], pydantic.Field(min_length=1)] | None = None
    """Names of the modalities of a new model; only with `encoder`."""
    controllers: bool | None = None
    """Whether each modality gets its own controllers; false is one encoder for all, as a teacher
    has. Only with `encoder`."""
    normalization: Literal["imagenet", "released"] | None = None
    """How pixels are normalised: `imagenet`, or `released` as the published ESP-MedSAM checkpoints
    expect. Only with `encoder`."""

    targets: dict[str, Names] | None = None
    """Targets of each modality, such as {fundus: [vessels, optic_disc], xray: lungs}; a modality
    without an entry has one unnamed target. Only with `encoder`."""
    exclusive: dict[str, list[list[str]]] | None = None
    """Groups of targets that never overlap, such as {fundus: [[arteries, veins]]}. With a preset,
    of targets that are added to it."""
    nested: dict[str, dict[str, str]] | None = None
    """Targets inside of another one, such as {fundus: {optic_cup: optic_disc}}. With a preset, of
    targets that are added to it."""
    instances: dict[str, Kinds] | None = None
    """Targets whose objects are told apart, such as {microscopy: nuclei}, or {microscopy: {nuclei:
    core}}: by a map of their boundaries, or `core` or `components`."""
    target_adapters: dict[str, dict[str, Count]] | None = None
    """Hidden widths of adapters, such as {fundus: {optic_disc: 16}}, of targets after the first.
    Only with `encoder`."""
    self_prompt_targets: Literal["union", "each"] | None = None
    """Whether the model prompts itself by one map for all targets of a modality, `union`, or by one
    for `each`. Only with `encoder`; null is `union`."""
    name_targets: dict[str, str] | None = None
    """Names for unnamed targets of the preset, such as {fundus: vessels}."""
    add_targets: (
        dict[
            str,
            Annotated[
                list[AddedTarget],
                pydantic.Field(min_length=1),
                pydantic.BeforeValidator(_listed),
            ],
        ]
        | None
    ) = None
    """Targets to add to the preset, such as {fundus: [optic_disc, optic_cup]}; for more, write
    {name: optic_disc, init_from: vessels, adapter_dim: 16} in place of a name."""

    @pydantic.model_validator(mode="after")
    def _one_of_both(self):
        if (self.preset is None) == (self.encoder is None):
            raise ValueError("give either preset or encoder.")
        for key, reason in _OF_A_NEW_MODEL.items():
            if self.preset is not None and getattr(self, key) is not None:
                raise ValueError(f"{reason}; give {key} with an encoder only.")
        for key in ("name_targets", "add_targets"):
            if self.preset is None and getattr(self, key):
                raise ValueError(f"{key} is for a preset; give a new model its targets instead.")
        if self.preset is None and self.modalities:
            Targets.of_modalities(
                self.modalities, self.targets, self.exclusive, self.nested, self.instances
            )
        return self

    @pydantic.model_validator(mode="after")
    def _relations_of_new_targets(self):
        if self.preset is None:
            return self
        added = self.new_targets
        for key in ("exclusive", "nested"):
            for modality in getattr(self, key) or {}:
                if modality not in added:
                    raise ValueError(
                        f"{key} is given for {shown(modality)}, to which no target is added"
                        f"{did_you_mean(modality, added)} It would change the masks of the "
                        "preset's own targets."
                    )
        return self

    @property
    def new_targets(self) -> dict[str, list[str]]:
        """Names of the targets that are added to a preset, by modality."""
        return {
            modality: [one.name for one in targets]
            for modality, targets in (self.add_targets or {}).items()
        }


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
    balance: Literal["dataset", "modality", "target"] | None = "dataset"
    """Draw every data set equally often (`dataset`), every modality (`modality`), every target of
    every modality (`target`), or every image (null)."""
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


class LearningRateSettings(Settings):
    """A learning rate over the steps of a phase."""

    rate: Positive = 1e-4
    """Learning rate at the start, or after the warm-up."""
    schedule: Literal["constant", "exponential", "cosine"] = "constant"
    """`constant`; `exponential`, multiplied by `decay_per_epoch` after each epoch; or `cosine`, up
    to `rate` in `warmup_steps` and then down to `final_rate`."""
    decay_per_epoch: Positive = 0.98
    """Factor after each epoch, of the exponential schedule."""
    warmup_steps: Annotated[int, pydantic.Field(strict=True, ge=0, le=2**31 - 1)] = 0
    """Steps from a twentieth of `rate` up to it, of the cosine schedule."""
    final_rate: NonNegative = 0.0
    """Rate at the end, of the cosine schedule."""

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
    """The optimizer; `DecoupledOptimizer` keeps separate state for each modality."""

    name: Literal["adam", "adamw", "lion", "nadam", "sgd"] = "adamw"
    """The Keras optimizer."""
    weight_decay: NonNegative | None = None
    """Weight decay; null is the optimizer's default."""
    momentum: NonNegative | None = None
    """Momentum of sgd."""
    clipnorm: Positive | None = None
    """Largest norm of one variable's gradient."""
    global_clipnorm: Positive | None = None
    """Largest norm of all gradients of a modality together."""
    accumulation_steps: Count | None = None
    """Batches whose gradients are averaged for one update."""
    ema_momentum: Fraction | None = None
    """Validate and keep moving averages of the weights, with a momentum such as 0.999."""
    layer_decay: Fraction | None = None
    """Factor of the learning rate from each encoder block to the one before it, such as 0.8."""

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
    """Epochs without improvement after which a phase ends."""


class PhaseSettings(Settings):
    """Settings of every phase."""

    name: Annotated[str, pydantic.Field(pattern=r"^[\w.-]+$")] | None = None
    """Name of the phase's folder; null is `phase`, or the kind of a distillation phase."""
    epochs: Count = 1
    """Epochs of the phase."""
    steps: Count | None = 100
    """Batches in an epoch; null is one pass over all images. The state is saved after each epoch.
    """
    batch_size: Count = 16
    """Images in a batch, on all devices together."""
    learning_rate: LearningRateSettings = LearningRateSettings()
    """Learning rate of the phase."""
    optimizer: OptimizerSettings = OptimizerSettings()
    """Optimiser of the phase."""

    def weights_of(self, data: DataSettings) -> dict[str, float] | None:
        """The weights by which images are drawn; None if each is shown once."""
        return data.weights if self.steps else None


# By modality or data set, the arguments of `Augmentation`.
AugmentationSettings = dict[str, dict[str, Any]] | Literal["medical", "none"]


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


def check_names(found: Iterable[str], known: Collection[str], what: str) -> None:
    """Raise for unknown names.

    Raises:
        ValueError: with the known names.
    """
    for name in found:
        if name not in known:
            raise ValueError(
                f"{what} {shown(name)} is unknown{did_you_mean(name, known)} "
                f"Known: {', '.join(known)}."
            )
