"""TiC: a feature pyramid of convolutional self-attention, for images of any size."""

import keras
from keras_hub.models import FeaturePyramidBackbone

from keras_espmedsam.hub.from_preset import knows_builtin_presets
from keras_espmedsam.hub.sizes import check_sizes
from keras_espmedsam.layers import ConvPatchEmbedding, PatchMerging, TiCBlock
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
class TiCBackbone(FeaturePyramidBackbone, StagedImageEncoder):
    """Convolutional stem and stages of `TiCBlock` at strides 4, 8, 16 and 32.

    There is no position table: the same weights take any image size, at a cost linear in the
    number of pixels. The defaults are the configuration `tic_tiny`; `espmedsam presets` lists the
    others. Without a neck it is a classifier's backbone; with a neck it is an image encoder for
    `ESPMedSAMBackbone`, with or without modality controllers, like `TinyViTBackbone`.

    Args:
        hidden_dims: tuple of int. Width of each stage.
        depths: tuple of int. Blocks of each stage.
        num_heads: tuple of int. Attention heads of each stage.
        kernel_size: int, odd. Side of the attention's window, in tokens.
        shift_size: int or None. Steps of the `MultiDirectionalCyclicShift` around the attention
            of every second block of the network; `None` switches it off.
        pool_size: int or None. Cells of the `InterPooling` of every block; `None` switches it off.
        mlp_ratio: float. Hidden width of the MLPs over the stage's width.
        border: `"zero"` or `"mask"`, see `MSAConv2D`.
        attention_dropout: float. Share of attention weights dropped in training.
        neck_dim: int or None. Width of the embedding; `None` leaves the neck out and returns the
            last stage's feature map.
        neck_levels: tuple of int or None. Stages whose feature maps enter the neck; `None` is
            the last one.
        output_stride: int or None. Pixels per step of the embedding; `None` is the last stage's.
        num_modalities: int. Number of modality controllers; 0 for none.
        adapter_ratio: float. Hidden width of the controllers' adapters over the stage's width.
        adapter_zero_init: bool. See `ModalityAdapter`.
        image_shape: tuple `(height, width, 3)`; height and width `None` or any size; with a neck
            of several levels, multiples of 32.
        dtype: dtype or `keras.DTypePolicy` of the layers.

    Call: images `(batch, height, width, 3)`, normalised floats, or with controllers
    `{"images": ..., "modalities": (batch,) int}`, to
    `(batch, ceil(height / 32), ceil(width / 32), hidden_dims[-1])` or the neck's
    `(batch, height / output_stride, width / output_stride, neck_dim)`. `pyramid_outputs` has the
    stages' feature maps as `"P2"` to `"P5"`.

    Raises:
        ValueError: for lists of unequal length, or neck arguments without a neck.

    Example:
        >>> backbone = TiCBackbone(
        ...     hidden_dims=(16, 16, 32, 32), depths=(1, 1, 1, 1), num_heads=(1, 2, 2, 4),
        ...     kernel_size=3)
        >>> tuple(backbone(np.zeros((1, 70, 100, 3))).shape)
        (1, 3, 4, 32)

    Source: TiC (arXiv 2310.04134), the attention; ESP-MedSAM (arXiv 2407.14153), the controllers.
    Of the rest of TiC's network only names are published, so its design may differ.
    """

    def __init__(
        self,
        hidden_dims=(64, 128, 256, 512),
        depths=(3, 4, 18, 5),
        num_heads=(2, 4, 8, 16),
        kernel_size=7,
        shift_size=7,
        pool_size=4,
        mlp_ratio=3,
        border="zero",
        attention_dropout=0.0,
        neck_dim=None,
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
            "TiCBackbone",
            hidden_dims=hidden_dims,
            depths=depths,
            num_heads_by_stage=num_heads,
            kernel_size=kernel_size,
            shift_size=shift_size,
            pool_size=pool_size,
            mlp_ratio=mlp_ratio,
            neck_dim=neck_dim,
            neck_levels=neck_levels,
            output_stride=output_stride,
            num_modalities=num_modalities,
            adapter_ratio=adapter_ratio,
            image_shape=image_shape,
        )
        stages = len(hidden_dims)
        if not stages == len(depths) == len(num_heads):
            raise ValueError(
                f"TiCBackbone received {stages} hidden_dims, {len(depths)} depths and "
                f"{len(num_heads)} num_heads; give as many of each."
            )
        self.stage_strides = tuple(PATCH_STRIDE * 2**stage for stage in range(stages))

        # === Layers ===
        self.patch_embedding = ConvPatchEmbedding(
            hidden_dims[0], name="patch_embedding", dtype=dtype
        )
        self.blocks, self.mergings = [], []
        for stage in range(stages):
            self.blocks.append([])
            for i in range(depths[stage]):
                # Plain and shifted blocks alternate over the whole network.
                shifted = (sum(depths[:stage]) + i) % 2 == 1
                block = TiCBlock(
                    num_heads=num_heads[stage],
                    kernel_size=kernel_size,
                    shift_size=shift_size if shifted else None,
                    pool_size=pool_size,
                    mlp_ratio=mlp_ratio,
                    border=border,
                    attention_dropout=attention_dropout,
                    num_modalities=num_modalities,
                    adapter_ratio=adapter_ratio,
                    adapter_zero_init=adapter_zero_init,
                    name=f"stage_{stage}_block_{i}",
                    dtype=dtype,
                )
                self.blocks[stage].append(block)
            if stage + 1 < stages:
                merging = PatchMerging(
                    hidden_dims[stage + 1], 2, name=f"stage_{stage}_merging", dtype=dtype
                )
                self.mergings.append(merging)
        self.neck, levels, stride_out = make_neck(
            "TiCBackbone", self.stage_strides, neck_dim, neck_levels, output_stride, dtype
        )

        # === Functional Model ===
        self.encoder_stages = EncoderStages(
            self.patch_embedding, self.blocks, self.mergings, self.neck, levels
        )
        inputs, features = connect(image_shape, num_modalities, self.encoder_stages)
        super().__init__(inputs=inputs, outputs=features["embedding"], dtype=dtype, **kwargs)

        # === Config ===
        self.pyramid_outputs = {f"P{2 + i}": features[f"stage_{i}"] for i in range(stages)}
        self.hidden_dims = tuple(hidden_dims)
        self.depths = tuple(depths)
        self.num_heads = tuple(num_heads)
        self.kernel_size = kernel_size
        self.shift_size = shift_size
        self.pool_size = pool_size
        self.mlp_ratio = mlp_ratio
        self.border = border
        self.attention_dropout = attention_dropout
        self.neck_dim = neck_dim
        self.neck_levels = levels
        self.output_stride = stride_out
        self.num_modalities = num_modalities
        self.adapter_ratio = adapter_ratio
        self.adapter_zero_init = adapter_zero_init
        self.image_shape = tuple(image_shape)

    # Keras on PyTorch orders a model's layers differently from TensorFlow and JAX, and a saved
    # optimizer finds its slots by the order of the weights.

    @property
    def variables(self):
        return self._in_one_order(super().variables)

    @property
    def weights(self):
        return self._in_one_order(super().weights)

    def _in_one_order(self, variables):
        blocks = (block for stage in self.blocks for block in stage)
        layers = [self.patch_embedding, *self.mergings, self.neck, *blocks]
        order = {}
        for layer in layers:
            for variable in () if layer is None else layer.variables:
                order.setdefault(id(variable), len(order))
        return sorted(variables, key=lambda variable: order.get(id(variable), len(order)))

    def get_config(self):
        return {
            **super().get_config(),
            "hidden_dims": self.hidden_dims,
            "depths": self.depths,
            "num_heads": self.num_heads,
            "kernel_size": self.kernel_size,
            "shift_size": self.shift_size,
            "pool_size": self.pool_size,
            "mlp_ratio": self.mlp_ratio,
            "border": self.border,
            "attention_dropout": self.attention_dropout,
            "neck_dim": self.neck_dim,
            "neck_levels": self.neck_levels,
            "output_stride": self.output_stride,
            "num_modalities": self.num_modalities,
            "adapter_ratio": self.adapter_ratio,
            "adapter_zero_init": self.adapter_zero_init,
            "image_shape": self.image_shape,
        }
