"""The segmenter of a run: its encoder, its decoder and its targets."""

from collections.abc import Mapping
from typing import Annotated, Literal

import pydantic

from keras_espmedsam._shown import shown
from keras_espmedsam.data.targets import DEFAULT_INSTANCE_KIND, Targets
from keras_espmedsam.errors import did_you_mean
from keras_espmedsam.registries import image_encoders
from keras_espmedsam.training.config.field_types import Count, Names, PresetName, listed
from keras_espmedsam.training.config.known_names import one_of
from keras_espmedsam.training.config.settings import Settings


class EncoderSettings(Settings):
    """An image encoder: its kind and arguments of its class, which are checked when it is built.

    Example:
        >>> EncoderSettings(preset="efficientnet_b0_ra_imagenet").kind
        'keras_hub'
    """

    model_config = pydantic.ConfigDict(extra="allow")
    kind: Annotated[str, one_of(image_encoders)]
    """`tiny_vit`, `tic`, `vit_med` or `keras_hub`, or an encoder of another package. The other keys
    are arguments of its class: `TinyViTBackbone`, `TiCBackbone`, `ViTMedBackbone` or
    `KerasHubImageEncoder`. With `preset`, a name or folder of keras-hub, it may be left out."""

    @pydantic.model_validator(mode="before")
    @classmethod
    def _known_keys_only(cls, data):
        # Takes the place of the base's: the keys are those of the encoder's class.
        if isinstance(data, Mapping) and "preset" in data and "kind" not in data:
            return {**data, "kind": "keras_hub"}
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


def _kinds(value):
    """Return how the objects of each target are told apart, of names alone in the usual way."""
    if isinstance(value, str | list) and all(isinstance(name, str) for name in listed(value)):
        return dict.fromkeys(listed(value), DEFAULT_INSTANCE_KIND)
    return value


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

    preset: PresetName | None = None
    """A built-in name, of the newest version or with one (espmedsam_nano_256@1); a folder; or
    `hf://org/name`. Give either this or `encoder`."""
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
                pydantic.BeforeValidator(listed),
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
