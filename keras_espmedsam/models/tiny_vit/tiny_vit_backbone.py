"""TinyViT as an image encoder, with or without modality controllers."""

import keras
from keras_hub.models import Backbone

from keras_espmedsam.hub.from_preset import knows_builtin_presets
from keras_espmedsam.hub.sizes import check_sizes
from keras_espmedsam.layers import (
    ConvPatchEmbedding,
    MBConv,
    PatchMerging,
    WindowAttentionBlock,
)
from keras_espmedsam.models.encoder_stages import (
    EncoderStages,
    StagedImageEncoder,
    connect,
    make_neck,
)
from keras_espmedsam.models.keras_export import exports_from_any_backend
from keras_espmedsam.models.lora import adapts_by_lora
from keras_espmedsam.models.quantization import keeps_quantization

PATCH_STRIDE = 4


@knows_builtin_presets()
@adapts_by_lora
@exports_from_any_backend
@keeps_quantization
@keras.saving.register_keras_serializable(package="keras_espmedsam")
class TinyViTBackbone(Backbone, StagedImageEncoder):
    """Hybrid image encoder: a convolutional stage, then stages of window attention.

    The defaults are the TinyViT-5M body and neck of MobileSAM and ESP-MedSAM: embeddings of
    width 256 at a sixteenth of the resolution. Use it alone (`num_modalities=0`, its input a batch
    of images) or with one controller per modality (its input a dict with `modalities`).

    Args:
        hidden_dims: tuple of int. Width of each stage.
        depths: tuple of int. Blocks of each stage; the first stage is convolutional.
        num_heads: tuple of int. Heads of each attention stage, so one fewer than stages.
        window_sizes: tuple of int. Side of the attention window of each attention stage.
        strides: tuple of int. Stride of the merging between two stages.
        mlp_ratio: float. Hidden width of the MLPs over the stage's width.
        expand_ratio: int. Widening of the convolutional blocks.
        neck_dim: int or None. Width of the embedding; `None` leaves the neck out and returns the
            last stage's feature map.
        neck_levels: tuple of int or None. Stages whose feature maps enter the neck; `None` is
            the last one, as released. More stages keep finer detail.
        output_stride: int or None. Pixels per step of the embedding; `None` is the last stage's.
        num_modalities: int. Number of modality controllers; 0 for none.
        adapter_ratio: float. Hidden width of the controllers' adapters over the stage's width.
        adapter_zero_init: bool. See `ModalityAdapter`.
        image_shape: tuple `(height, width, 3)`; height and width `None` or multiples of 32.
        dtype: dtype or `keras.DTypePolicy` of the layers.

    Call: images `(batch, height, width, 3)`, normalised floats, or with controllers
    `{"images": ..., "modalities": (batch,) int}`, to
    `(batch, height / output_stride, width / output_stride, neck_dim)`.

    Example:
        >>> encoder = TinyViTBackbone(
        ...     hidden_dims=(16, 16, 32, 32), depths=(1, 1, 1, 1), num_heads=(1, 2, 2),
        ...     window_sizes=(4, 4, 4), neck_dim=32)
        >>> tuple(encoder(np.zeros((1, 64, 96, 3))).shape)
        (1, 4, 6, 32)

    Source: TinyViT (arXiv 2207.10666); SAM (arXiv 2304.02643), the neck; ESP-MedSAM
    (arXiv 2407.14153), the controllers. Departs from the papers: the neck can take several stages.
    """

    def __init__(
        self,
        hidden_dims=(64, 128, 160, 320),
        depths=(2, 2, 6, 2),
        num_heads=(4, 5, 10),
        window_sizes=(7, 14, 7),
        strides=(2, 2, 1),
        mlp_ratio=4,
        expand_ratio=4,
        neck_dim=256,
        neck_levels=None,
        output_stride=None,
        num_modalities=0,
        adapter_ratio=4,
        adapter_zero_init=False,
        image_shape=(None, None, 3),
        dtype=None,
        **kwargs,
    ):
        check_sizes(
            "TinyViTBackbone",
            hidden_dims=hidden_dims,
            depths=depths,
            num_heads_by_stage=num_heads,
            window_sizes=window_sizes,
            strides=strides,
            mlp_ratio=mlp_ratio,
            expand_ratio=expand_ratio,
            neck_dim=neck_dim,
            neck_levels=neck_levels,
            output_stride=output_stride,
            num_modalities=num_modalities,
            adapter_ratio=adapter_ratio,
            image_shape=image_shape,
        )
        stages = len(hidden_dims)
        lengths = (len(depths), len(num_heads) + 1, len(window_sizes) + 1, len(strides) + 1)
        if any(length != stages for length in lengths):
            raise ValueError(
                f"TinyViTBackbone received {stages} hidden_dims, {len(depths)} depths, "
                f"{len(num_heads)} num_heads, {len(window_sizes)} window_sizes and "
                f"{len(strides)} strides; give as many depths as hidden_dims and one fewer of "
                "the other three."
            )
        stage_strides = [PATCH_STRIDE]
        for stride in strides:
            stage_strides.append(stage_strides[-1] * stride)
        self.stage_strides = tuple(stage_strides)

        # === Layers ===
        self.patch_embedding = ConvPatchEmbedding(
            hidden_dims[0], name="patch_embedding", dtype=dtype
        )
        self.blocks, self.mergings = [], []
        for stage in range(stages):
            self.blocks.append(
                [
                    MBConv(expand_ratio, name=f"stage_{stage}_block_{i}", dtype=dtype)
                    if stage == 0
                    else WindowAttentionBlock(
                        num_heads=num_heads[stage - 1],
                        window_size=window_sizes[stage - 1],
                        mlp_ratio=mlp_ratio,
                        num_modalities=num_modalities,
                        adapter_ratio=adapter_ratio,
                        adapter_zero_init=adapter_zero_init,
                        name=f"stage_{stage}_block_{i}",
                        dtype=dtype,
                    )
                    for i in range(depths[stage])
                ]
            )
            if stage + 1 < stages:
                self.mergings.append(
                    PatchMerging(
                        hidden_dims[stage + 1],
                        strides[stage],
                        name=f"stage_{stage}_merging",
                        dtype=dtype,
                    )
                )
        self.neck, levels, stride_out = make_neck(
            "TinyViTBackbone", self.stage_strides, neck_dim, neck_levels, output_stride, dtype
        )

        # === Functional Model ===
        self.encoder_stages = EncoderStages(
            self.patch_embedding, self.blocks, self.mergings, self.neck, levels
        )
        inputs, features = connect(image_shape, num_modalities, self.encoder_stages)
        super().__init__(inputs=inputs, outputs=features["embedding"], dtype=dtype, **kwargs)

        # === Config ===
        self.hidden_dims = tuple(hidden_dims)
        self.depths = tuple(depths)
        self.num_heads = tuple(num_heads)
        self.window_sizes = tuple(window_sizes)
        self.strides = tuple(strides)
        self.mlp_ratio = mlp_ratio
        self.expand_ratio = expand_ratio
        self.neck_dim = neck_dim
        self.neck_levels = levels
        self.output_stride = stride_out
        self.num_modalities = num_modalities
        self.adapter_ratio = adapter_ratio
        self.adapter_zero_init = adapter_zero_init
        self.image_shape = tuple(image_shape)

    def get_config(self):
        return {
            **super().get_config(),
            "hidden_dims": self.hidden_dims,
            "depths": self.depths,
            "num_heads": self.num_heads,
            "window_sizes": self.window_sizes,
            "strides": self.strides,
            "mlp_ratio": self.mlp_ratio,
            "expand_ratio": self.expand_ratio,
            "neck_dim": self.neck_dim,
            "neck_levels": self.neck_levels,
            "output_stride": self.output_stride,
            "num_modalities": self.num_modalities,
            "adapter_ratio": self.adapter_ratio,
            "adapter_zero_init": self.adapter_zero_init,
            "image_shape": self.image_shape,
        }
