"""The ESP-MedSAM network: image encoder, self-prompts and decoder in one functional model."""

import keras
from keras import ops
from keras_hub.models import Backbone

from keras_espmedsam._shown import shown_value
from keras_espmedsam.data.targets import Targets
from keras_espmedsam.errors import InputError, did_you_mean
from keras_espmedsam.hub.from_preset import knows_builtin_presets
from keras_espmedsam.hub.sizes import check_class_names, check_sizes
from keras_espmedsam.inference.modalities import no_modality
from keras_espmedsam.layers import (
    BilinearUpsampling,
    DetailBranch,
    QueryDecoupledModalityDecoder,
    SelfPatchPromptGenerator,
    TargetConstraints,
)
from keras_espmedsam.layers.query_decoupled_modality_decoder import UPSCALING
from keras_espmedsam.models.image_encoder import (
    as_image_encoder,
    deserialize_within,
    serialize_within,
)
from keras_espmedsam.models.keras_export import exports_from_any_backend
from keras_espmedsam.models.lora import adapts_by_lora
from keras_espmedsam.models.quantization import keeps_quantization

# The order of the queries in the released model.
MODALITIES = ("dermoscopy", "xray", "ultrasound", "fundus", "microscopy", "colonoscopy")
PATCH_SIZE = 32
SELF_PROMPT_TARGETS = ("union", "each")


@knows_builtin_presets()
@adapts_by_lora
@exports_from_any_backend
@keeps_quantization
@keras.saving.register_keras_serializable(package="keras_espmedsam")
class ESPMedSAMBackbone(Backbone):
    """Image encoder, Self-Patch Prompt Generator and Query-Decoupled Modality Decoder.

    Args:
        image_encoder: `ImageEncoder`, such as `TinyViTBackbone`, or another functional
            `keras.Model` from images `(batch, height, width, 3)` to a feature map
            `(batch, height / stride, width / stride, channels)`, see `as_image_encoder`.
        modalities: tuple of str. Names; a sample's modality index points into it.
        num_queries: int or None. Learned queries of the decoder. `None`: one more than there are
            modalities, not counting added ones, as released (the last query only attends).
        query_indices: tuple of int or None. The query of each modality. `None`: 0, 1, 2, ..., and
            from `num_queries` on for the added modalities.
        transformer_depth: int. Blocks of the decoder's two-way transformer.
        transformer_num_heads: int. Its attention heads.
        transformer_mlp_dim: int. Hidden width of its MLPs.
        shared_hypernetwork: bool. See `QueryDecoupledModalityDecoder`.
        num_added_queries: int. How many of the modalities (the last ones) were added later. Each
            has a query that samples of other modalities do not see. The segmenter's
            `add_modality` increments it.
        detail_dims: tuple of int. Widths of the maps of a `DetailBranch` at strides 1, 2, 4, ...,
            which let the decoder draw masks at the image's own resolution. Empty, as released:
            masks at a quarter of the embedding's stride, enlarged bilinearly.
        self_prompts: bool. Whether the patches that hold foreground prompt the decoder, as
            published. If False, they are still predicted and trained, but not used: an ablation.
        dtype: dtype or `keras.DTypePolicy`. The heads always compute in float32.
        targets: dict of modality to its targets' names, in the order of the masks' channels, or to
            one name. A modality without an entry has one unnamed target, `"mask"`.
        exclusive: dict of modality to groups of targets that never overlap; see `Targets`.
        nested: dict of modality to dict of an inner target to the outer one that contains it.
        instances: dict of modality to dict of target to how its objects are told apart:
            `"boundary"`, `"core"` or `"components"`. The first two need a hidden channel.
        target_adapters: dict of modality to dict of channel name to the hidden width of an adapter
            of the image features, for channels after the modality's first.
        self_prompt_targets: `"union"`, one map of patches that hold any target of the modality, or
            `"each"`, a map for each of its channels.

    Call: `{"images": (batch, height, width, 3) normalised float, "modalities": (batch,) int}`
    (no `modalities` when there is one) to a dict of `masks` `(batch, height, width, channels)`
    logits, `patches` `(batch, height / 32, width / 32, 1)` logits and `image_embeddings`. Height
    and width are multiples of 32. There are as many channels as the modality with the most
    targets needs (1 by default); those that a sample's modality does not use are -inf.
    `patches` has as many with `self_prompt_targets="each"`.

    Example:
        >>> encoder = TinyViTBackbone(
        ...     hidden_dims=(16, 16, 32, 32), depths=(1, 1, 1, 1), num_heads=(1, 2, 2),
        ...     window_sizes=(4, 4, 4), neck_dim=32, num_modalities=6)
        >>> backbone = ESPMedSAMBackbone(encoder, transformer_num_heads=2, transformer_mlp_dim=64)
        >>> outputs = backbone({"images": np.zeros((2, 64, 96, 3)), "modalities": np.array([0, 3])})
        >>> tuple(outputs["masks"].shape), tuple(outputs["patches"].shape)
        ((2, 64, 96, 1), (2, 2, 3, 1))

    Source: ESP-MedSAM (arXiv 2407.14153). Departs from the released code: one model holds all
    controllers and chooses one per sample, as the paper draws it. Departs from the paper: several
    targets per modality.
    """

    def __init__(
        self,
        image_encoder,
        modalities=MODALITIES,
        num_queries=None,
        query_indices=None,
        transformer_depth=2,
        transformer_num_heads=8,
        transformer_mlp_dim=2048,
        shared_hypernetwork=True,
        num_added_queries=0,
        detail_dims=(),
        self_prompts=True,
        dtype=None,
        targets=None,
        exclusive=None,
        nested=None,
        instances=None,
        target_adapters=None,
        self_prompt_targets="union",
        **kwargs,
    ):
        modalities = check_class_names("ESPMedSAMBackbone", modalities)
        check_sizes(
            "ESPMedSAMBackbone",
            num_queries=num_queries,
            query_indices=query_indices,
            transformer_depth=transformer_depth,
            transformer_num_heads=transformer_num_heads,
            transformer_mlp_dim=transformer_mlp_dim,
            num_added_queries=num_added_queries,
            detail_dims=detail_dims,
        )
        encoder = as_image_encoder(image_encoder)
        held = encoder.num_modalities
        if held not in (0, len(modalities)):
            raise ValueError(
                f"ESPMedSAMBackbone received an image encoder with {held} modality controllers "
                f"and {len(modalities)} modalities {shown_value(modalities)}; give the encoder "
                f"num_modalities={len(modalities)}, or 0."
            )
        if len(set(modalities)) != len(modalities) or not modalities:
            raise ValueError(
                f"ESPMedSAMBackbone received modalities={shown_value(modalities)}; give at least "
                "one name, each once."
            )
        first = len(modalities) - num_added_queries
        num_queries = num_queries or first + 1
        if query_indices is None:
            query_indices = [*range(first), *(num_queries + i for i in range(num_added_queries))]
        query_indices = tuple(query_indices)
        if len(query_indices) != len(modalities):
            raise ValueError(
                f"ESPMedSAMBackbone received {len(query_indices)} query_indices for "
                f"{len(modalities)} modalities; give one per modality."
            )
        target_set = Targets.of_modalities(modalities, targets, exclusive, nested, instances)
        target_adapters = _checked_adapters(target_adapters, target_set)
        if self_prompt_targets not in SELF_PROMPT_TARGETS:
            raise InputError(
                f"ESPMedSAMBackbone received self_prompt_targets="
                f"{shown_value(self_prompt_targets)}; expected one of "
                f"{', '.join(SELF_PROMPT_TARGETS)}."
            )
        stride = _checked_stride(encoder)
        _check_image_shape(encoder.image_shape)

        # === Layers ===
        self.image_encoder = image_encoder
        # The methods below read these.
        self.target_set = target_set
        self.self_prompt_targets = self_prompt_targets
        channels = [target_set.channels(modality) for modality in modalities]
        self.prompt_generator = SelfPatchPromptGenerator(
            PATCH_SIZE // stride,
            num_maps=[len(names) if self_prompt_targets == "each" else 1 for names in channels],
            name="prompt_generator",
            dtype=dtype,
        )
        detail_dims = tuple(detail_dims)
        self.detail_branch = None
        if detail_dims:
            self.detail_branch = DetailBranch(detail_dims, name="detail_branch", dtype=dtype)
        upscaling = stride if detail_dims else UPSCALING
        self.mask_decoder = QueryDecoupledModalityDecoder(
            num_queries,
            query_indices,
            depth=transformer_depth,
            num_heads=transformer_num_heads,
            mlp_dim=transformer_mlp_dim,
            shared_hypernetwork=shared_hypernetwork,
            num_added_queries=num_added_queries,
            detail_dims=detail_dims,
            upscaling=upscaling,
            num_channels=[len(names) for names in channels],
            adapter_dims=[
                [target_adapters.get(modality, {}).get(name, 0) for name in names[1:]]
                for modality, names in zip(modalities, channels, strict=True)
            ],
            name="mask_decoder",
            dtype=dtype,
        )
        self.mask_upsampling = BilinearUpsampling(
            stride // upscaling, name="mask_upsampling", dtype="float32"
        )
        self.target_constraints = None
        if target_set.num_channels > 1:
            self.target_constraints = TargetConstraints(
                [len(names) for names in channels],
                target_set.group_numbers(),
                target_set.outer_channels(),
                name="target_constraints",
                dtype="float32",
            )

        # === Functional Model ===
        images = keras.Input(shape=encoder.image_shape, name="images", dtype="float32")
        inputs, modality_input = {"images": images}, None
        if len(modalities) > 1:
            modality_input = keras.Input(shape=(), dtype="int32", name="modalities")
            inputs["modalities"] = modality_input
        image_embeddings = encoder.embed(images, modality_input)
        embeddings = self.with_details(image_embeddings, images)
        outputs = self._decode(embeddings, modality_input, self_prompts, all_queries=False)
        super().__init__(
            inputs=inputs,
            outputs={**outputs, "image_embeddings": image_embeddings},
            dtype=dtype,
            **kwargs,
        )

        # === Config ===
        self.modalities = modalities
        self.num_queries = num_queries
        self.query_indices = query_indices
        self.transformer_depth = transformer_depth
        self.transformer_num_heads = transformer_num_heads
        self.transformer_mlp_dim = transformer_mlp_dim
        self.shared_hypernetwork = shared_hypernetwork
        self.num_added_queries = num_added_queries
        self.detail_dims = detail_dims
        self.self_prompts = self_prompts
        self.target_adapters = target_adapters

    @property
    def targets(self):
        """dict of modality to tuple of str: the targets, in the order of the masks' channels.

        Example, with the class's `backbone`:
            >>> backbone.targets["fundus"]
            ('mask',)
        """
        return dict(self.target_set.names)

    def encode(self, images, modalities=None):
        """Compute image embeddings with their modality's controller: the expensive pass.

        Args:
            images: float tensor `(batch, height, width, 3)`, normalised.
            modalities: int tensor `(batch,)`; not needed with one modality.

        Returns:
            Image embeddings `(batch, height / stride, width / stride, channels)`. With
            `detail_dims`, a dict of `image_embeddings` and `details`, a list of maps.

        Example, with the class's `backbone`:
            >>> embeddings = backbone.encode(np.zeros((1, 64, 96, 3), "float32"), np.array([3]))
            >>> tuple(embeddings.shape)
            (1, 4, 6, 32)

        Source: ESP-MedSAM (arXiv 2407.14153).
        """
        self._check_modalities_given(modalities)
        height, width = images.shape[1:3]
        if any(isinstance(size, int) and size % PATCH_SIZE for size in (height, width)):
            padded = [-(-size // PATCH_SIZE) * PATCH_SIZE for size in (height, width)]
            raise ValueError(
                f"Received images of {height} x {width} pixels; expected multiples of "
                f"{PATCH_SIZE}. Pad them to {padded[0]} x {padded[1]}."
            )
        embeddings = as_image_encoder(self.image_encoder).embed(images, modalities)
        return self.with_details(embeddings, images)

    def with_details(self, image_embeddings, images):
        """Combine an encoder's output with the detail maps, as input for `decode`; see `encode`.

        Args:
            image_embeddings: output of the image encoder.
            images: the images it was computed from.

        Example, with the class's `backbone`:
            >>> embeddings = np.zeros((1, 4, 6, 32), "float32")
            >>> tuple(backbone.with_details(embeddings, np.zeros((1, 64, 96, 3), "float32")).shape)
            (1, 4, 6, 32)
        """
        if self.detail_branch is None:
            return image_embeddings
        return {"image_embeddings": image_embeddings, "details": self.detail_branch(images)}

    def decode(self, embeddings, modalities=None, all_queries=False):
        """Predict masks and patch logits from embeddings: the cheap pass.

        Args:
            embeddings: output of `encode`. Decode an embedding with the modality it was encoded
                with.
            modalities: int tensor `(batch,)`; not needed with one modality, or with
                `all_queries` and no added modality.
            all_queries: bool. Return the masks of all queries instead of each sample's own;
                further targets are left out.

        Returns:
            dict of `masks`, `(batch, height, width, channels)` or with `all_queries`
            `(batch, height, width, num_queries)` (one more with added modalities, see
            `QueryDecoupledModalityDecoder`), and `patches`
            `(batch, height / 32, width / 32, 1)`; float32 logits, as the call returns them.

        Example, with the class's `backbone`:
            >>> embeddings = backbone.encode(np.zeros((1, 64, 96, 3), "float32"), np.array([3]))
            >>> tuple(backbone.decode(embeddings, all_queries=True)["masks"].shape)
            (1, 64, 96, 7)

        Source: ESP-MedSAM (arXiv 2407.14153).
        """
        if not all_queries:
            self._check_modalities_given(modalities)
        return self._decode(embeddings, modalities, self.self_prompts, all_queries)

    def _decode(self, embeddings, modalities, self_prompts, all_queries):
        image_embeddings, details = embeddings, None
        if self.detail_branch is not None:
            image_embeddings, details = embeddings["image_embeddings"], embeddings["details"]
        each = self.self_prompt_targets == "each"
        prompts = self.prompt_generator(image_embeddings, modalities if each else None)
        prompt = prompts["dense_prompt"]
        masks = self.mask_decoder(
            image_embeddings,
            prompt if self_prompts else ops.zeros_like(prompt),
            modalities,
            details,
            all_queries=all_queries,
        )
        masks = self.mask_upsampling(masks)
        if self.target_constraints is not None and not all_queries:
            masks = self.target_constraints(masks, modalities)
        return {"masks": masks, "patches": prompts["patches"]}

    def _check_modalities_given(self, modalities):
        if modalities is None and len(self.modalities) > 1:
            raise InputError(no_modality(self.modalities, ", by its number"))

    def decoding_layers(self):
        """Return the layers after the image encoder, which all modalities share.

        Example, with the class's `backbone`:
            >>> [layer.name for layer in backbone.decoding_layers()]
            ['prompt_generator', 'mask_decoder']
        """
        layers = [self.prompt_generator, self.mask_decoder]
        return layers if self.detail_branch is None else [*layers, self.detail_branch]

    def controller_layers(self, modality):
        """Return the layers of one modality's controller, for freezing or counting.

        Args:
            modality: str or int. Name or index.

        Returns:
            List of layers; set `trainable` on each to freeze only this controller. Empty for an
            encoder without controllers.

        Example, with the class's `backbone`:
            >>> for layer in backbone.controller_layers("fundus"):
            ...     layer.trainable = False
            >>> len(backbone.controller_layers("fundus"))
            6

        Source: the controller is ESP-MedSAM's (arXiv 2407.14153).
        """
        index = self._index(modality)
        return as_image_encoder(self.image_encoder).controller_layers(index)

    def added_layers(self, modality):
        """Return the decoder's layers that belong to one modality alone.

        Args:
            modality: str or int. Name or index.

        Returns:
            List of layers: of an added modality, its query and perhaps its network (otherwise the
            query is a row of a shared variable); then those of each further target.

        Example, with the class's `backbone`:
            >>> backbone.added_layers("fundus")
            []
        """
        return self.mask_decoder.added_layers(self._index(modality))

    def _index(self, modality):
        if isinstance(modality, int):
            return modality
        if modality not in self.modalities:
            raise InputError(
                f"Received the modality {modality!r}{did_you_mean(modality, self.modalities)} "
                f"This model knows {', '.join(self.modalities)}."
            )
        return self.modalities.index(modality)

    def get_config(self):
        return {
            **super().get_config(),
            "image_encoder": serialize_within(self.image_encoder, self.dtype_policy),
            "modalities": self.modalities,
            "num_queries": self.num_queries,
            "query_indices": self.query_indices,
            "transformer_depth": self.transformer_depth,
            "transformer_num_heads": self.transformer_num_heads,
            "transformer_mlp_dim": self.transformer_mlp_dim,
            "shared_hypernetwork": self.shared_hypernetwork,
            "num_added_queries": self.num_added_queries,
            "detail_dims": self.detail_dims,
            "self_prompts": self.self_prompts,
            **self._target_config(),
        }

    def _target_config(self):
        """Only what differs from one unnamed target, so that version 0.1.0 loads such presets."""
        config = self.target_set.config()
        if self.target_adapters:
            config["target_adapters"] = self.target_adapters
        if self.self_prompt_targets != "union":
            config["self_prompt_targets"] = self.self_prompt_targets
        return config

    @classmethod
    def from_config(cls, config):
        """Build from a config; its `dtype` and `image_shape` also go to the encoder.

        `from_preset(..., dtype=..., image_shape=...)` writes both only into this config. Without
        this, the encoder would keep its saved precision and size and silently ignore them. An
        encoder that was given its own precision keeps it.
        """
        config = dict(config)
        config["image_encoder"] = deserialize_within(
            config["image_encoder"], config.get("dtype"), config.pop("image_shape", None)
        )
        return super().from_config(config)


def _checked_adapters(adapters, targets):
    """Return the adapters' widths as plain dicts, without those of width 0."""
    found = {}
    for modality, dims in (adapters or {}).items():
        names = targets.channels(modality)[1:]
        for name, dim in dict(dims).items():
            if name not in names:
                raise InputError(
                    f"Received target_adapters for {shown_value(name)} of {modality}; expected "
                    f"channels after its first: {', '.join(names) or 'it has none'}."
                )
            check_sizes("ESPMedSAMBackbone", adapter_dim=dim)
            if dim:
                found.setdefault(modality, {})[name] = int(dim)
    return found


def _check_image_shape(image_shape):
    """Check that whole patches fill the encoder's input size, unless it is open."""
    height, width = image_shape[:2]
    if any(size is not None and size % PATCH_SIZE for size in (height, width)):
        raise InputError(
            f"Received an image encoder for images of {height} x {width} pixels; expected "
            f"image_shape=(height, width, 3) of multiples of {PATCH_SIZE}."
        )


def _checked_stride(encoder):
    """Return the stride of the encoder's feature map in pixels, if the decoder supports it."""
    stride = encoder.output_stride
    if stride is None:
        raise InputError(
            "Received an image encoder of unknown output stride; give it a fixed input size or an "
            "attribute output_stride."
        )
    if stride not in (4, 8, 16, 32):
        raise InputError(
            f"Received an image encoder of output stride {stride}; expected 4, 8, 16 or 32."
        )
    if PATCH_SIZE % encoder.size_multiple:
        raise InputError(
            f"Received an image encoder that takes multiples of {encoder.size_multiple} pixels "
            f"only; expected one that takes all multiples of {PATCH_SIZE}."
        )
    return stride
