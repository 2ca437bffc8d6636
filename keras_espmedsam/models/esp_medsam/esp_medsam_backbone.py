"""ESP-MedSAM without its task: encoder, self-prompts and decoder in one functional model."""

import keras
from keras import ops
from keras_hub.models import Backbone

from keras_espmedsam._shown import shown_value
from keras_espmedsam.errors import InputError, did_you_mean
from keras_espmedsam.hub.from_preset import knows_builtin_presets
from keras_espmedsam.hub.sizes import check_class_names, check_sizes
from keras_espmedsam.inference.modalities import no_modality
from keras_espmedsam.layers import (
    BilinearUpsampling,
    DetailBranch,
    QueryDecoupledModalityDecoder,
    SelfPatchPromptGenerator,
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

# The order of the released model's queries.
MODALITIES = ("dermoscopy", "xray", "ultrasound", "fundus", "microscopy", "colonoscopy")
PATCH_SIZE = 32


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
        num_queries: int or None. Learned queries of the decoder; `None` is one more than
            modalities without the added ones, as released (the last only attends).
        query_indices: tuple of int or None. The query of each modality; `None` is 0, 1, 2, ...,
            with those from `num_queries` on for the added ones.
        transformer_depth: int. Blocks of the decoder's two-way transformer.
        transformer_num_heads: int. Its attention heads.
        transformer_mlp_dim: int. Hidden width of its MLPs.
        shared_hypernetwork: bool. See `QueryDecoupledModalityDecoder`.
        num_added_queries: int. How many modalities, the last ones, were added later: each has a
            query that samples of other modalities do not see. `add_modality` of the segmenter
            counts it up.
        detail_dims: tuple of int. Widths of the maps of a `DetailBranch` at strides 1, 2, 4, ...,
            which let the decoder paint at the image's own resolution; empty, as released, for
            masks of a quarter of the embedding's stride that are enlarged bilinearly.
        self_prompts: bool. Whether the patches that hold foreground prompt the decoder, as
            published. Without, they are given and learnt but lead to nothing: an ablation.
        dtype: dtype or `keras.DTypePolicy`; the heads compute in float32 under any.

    Call: `{"images": (batch, height, width, 3) normalised float, "modalities": (batch,) int}`
    (no `modalities` when there is one) to a dict of `masks` `(batch, height, width, 1)` logits,
    `patches` `(batch, height / 32, width / 32, 1)` logits and `image_embeddings`. Height and
    width are multiples of 32.

    Example:
        >>> encoder = TinyViTBackbone(
        ...     hidden_dims=(16, 16, 32, 32), depths=(1, 1, 1, 1), num_heads=(1, 2, 2),
        ...     window_sizes=(4, 4, 4), neck_dim=32, num_modalities=6)
        >>> backbone = ESPMedSAMBackbone(encoder, transformer_num_heads=2, transformer_mlp_dim=64)
        >>> outputs = backbone({"images": np.zeros((2, 64, 96, 3)), "modalities": np.array([0, 3])})
        >>> tuple(outputs["masks"].shape), tuple(outputs["patches"].shape)
        ((2, 64, 96, 1), (2, 2, 3, 1))

    Source: ESP-MedSAM (arXiv 2407.14153); all controllers in one model, chosen per sample, is
    drawn in the paper and ours in code. The details are ours.
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
        stride = _checked_stride(encoder)
        _check_image_shape(encoder.image_shape)

        # === Layers ===
        self.image_encoder = image_encoder
        self.prompt_generator = SelfPatchPromptGenerator(
            PATCH_SIZE // stride, name="prompt_generator", dtype=dtype
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
            name="mask_decoder",
            dtype=dtype,
        )
        self.mask_upsampling = BilinearUpsampling(
            stride // upscaling, name="mask_upsampling", dtype="float32"
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

    def encode(self, images, modalities=None):
        """The heavy pass: images to embeddings that carry their modality's controller.

        Args:
            images: float tensor `(batch, height, width, 3)`, normalised.
            modalities: int tensor `(batch,)`; not needed with one modality.

        Returns:
            Image embeddings `(batch, height / stride, width / stride, channels)`; with
            `detail_dims` a dict of them, `image_embeddings`, and the list of maps `details`.

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
        """What `decode` takes, from an encoder's output; see `encode`.

        Args:
            image_embeddings: the image encoder's output.
            images: its images.

        Example, with the class's `backbone`:
            >>> embeddings = np.zeros((1, 4, 6, 32), "float32")
            >>> tuple(backbone.with_details(embeddings, np.zeros((1, 64, 96, 3), "float32")).shape)
            (1, 4, 6, 32)

        Source: ours.
        """
        if self.detail_branch is None:
            return image_embeddings
        return {"image_embeddings": image_embeddings, "details": self.detail_branch(images)}

    def decode(self, embeddings, modalities=None, all_queries=False):
        """The cheap pass: embeddings to masks and patch logits.

        Args:
            embeddings: as `encode` gives them. An embedding belongs to the modality it
                was encoded with.
            modalities: int tensor `(batch,)`; not needed with one modality, or with
                `all_queries` and no added modality.
            all_queries: bool. Give the masks of all queries instead of each sample's own.

        Returns:
            dict of `masks`, `(batch, height, width, 1)` or with `all_queries`
            `(batch, height, width, num_queries)` (one more with added modalities, see
            `QueryDecoupledModalityDecoder`), and `patches`
            `(batch, height / 32, width / 32, 1)`; float32 logits.

        Example, with the class's `backbone`:
            >>> embeddings = backbone.encode(np.zeros((1, 64, 96, 3), "float32"), np.array([3]))
            >>> tuple(backbone.decode(embeddings, all_queries=True)["masks"].shape)
            (1, 64, 96, 7)

        Source: ESP-MedSAM (arXiv 2407.14153); `all_queries` is ours.
        """
        if not all_queries:
            self._check_modalities_given(modalities)
        return self._decode(embeddings, modalities, self.self_prompts, all_queries)

    def _decode(self, embeddings, modalities, self_prompts, all_queries):
        image_embeddings, details = embeddings, None
        if self.detail_branch is not None:
            image_embeddings, details = embeddings["image_embeddings"], embeddings["details"]
        prompts = self.prompt_generator(image_embeddings)
        prompt = prompts["dense_prompt"]
        masks = self.mask_decoder(
            image_embeddings,
            prompt if self_prompts else ops.zeros_like(prompt),
            modalities,
            details,
            all_queries=all_queries,
        )
        return {"masks": self.mask_upsampling(masks), "patches": prompts["patches"]}

    def _check_modalities_given(self, modalities):
        if modalities is None and len(self.modalities) > 1:
            raise InputError(no_modality(self.modalities, ", by its number"))

    def decoding_layers(self):
        """The layers after the image encoder, which all modalities share.

        Example, with the class's `backbone`:
            >>> [layer.name for layer in backbone.decoding_layers()]
            ['prompt_generator', 'mask_decoder']

        Source: ours.
        """
        layers = [self.prompt_generator, self.mask_decoder]
        return layers if self.detail_branch is None else [*layers, self.detail_branch]

    def controller_layers(self, modality):
        """The layers that hold one modality's controller, for freezing or counting.

        Args:
            modality: str or int. Name or index.

        Returns:
            List of layers; setting `trainable` on each freezes this controller alone. Empty for
            an encoder without controllers.

        Example, with the class's `backbone`:
            >>> for layer in backbone.controller_layers("fundus"):
            ...     layer.trainable = False
            >>> len(backbone.controller_layers("fundus"))
            6

        Source: ours; the controller is ESP-MedSAM's (arXiv 2407.14153).
        """
        index = self._index(modality)
        return as_image_encoder(self.image_encoder).controller_layers(index)

    def added_layers(self, modality):
        """What the decoder holds for an added modality alone: its query, perhaps its network.

        Args:
            modality: str or int. Name or index.

        Returns:
            List of layers; empty for a modality that was there from the start, whose query is a
            row of a shared variable.

        Example, with the class's `backbone`:
            >>> backbone.added_layers("fundus")
            []

        Source: ours.
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
        }

    @classmethod
    def from_config(cls, config):
        """Build from a config; its `dtype` and an `image_shape` also go to the encoder.

        `from_preset(..., dtype=..., image_shape=...)` writes both into this config alone, and an
        encoder left at its saved precision or size would silently ignore the user's wish. An
        encoder that was given a precision of its own keeps it.
        """
        config = dict(config)
        config["image_encoder"] = deserialize_within(
            config["image_encoder"], config.get("dtype"), config.pop("image_shape", None)
        )
        return super().from_config(config)


def _check_image_shape(image_shape):
    """Of a fixed size or an open one: the decoder's masks fill whole patches."""
    height, width = image_shape[:2]
    if any(size is not None and size % PATCH_SIZE for size in (height, width)):
        raise InputError(
            f"Received an image encoder for images of {height} x {width} pixels; expected "
            f"image_shape=(height, width, 3) of multiples of {PATCH_SIZE}."
        )


def _checked_stride(encoder):
    """Pixels per step of the encoder's feature map, which the decoder must be able to take."""
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
            f"alone; expected one that takes all multiples of {PATCH_SIZE}."
        )
    return stride
