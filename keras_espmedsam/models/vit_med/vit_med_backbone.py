"""ViT-Med: SAM's image encoder with the additions of the medical teacher."""

import keras
from keras_hub.models import Backbone

from keras_espmedsam.hub.from_preset import knows_builtin_presets
from keras_espmedsam.hub.sizes import check_sizes
from keras_espmedsam.layers import PositionEmbedding, ViTMedBlock
from keras_espmedsam.models.encoder_stages import make_neck
from keras_espmedsam.models.image_encoder import FeatureLevel, ImageEncoder
from keras_espmedsam.models.keras_export import exports_from_any_backend
from keras_espmedsam.models.lora import adapts_by_lora
from keras_espmedsam.models.quantization import keeps_quantization


@knows_builtin_presets()
@adapts_by_lora
@exports_from_any_backend
@keeps_quantization
@keras.saving.register_keras_serializable(package="keras_espmedsam")
class ViTMedBackbone(Backbone, ImageEncoder):
    """SAM's ViT, with key/value tokens and a parallel adapter in every block.

    The defaults are SAM's ViT-B; ViT-L has `hidden_dim=1024, depth=24, num_heads=16,
    global_indices=(5, 11, 17, 23)`, ViT-H `hidden_dim=1280, depth=32, num_heads=16,
    global_indices=(7, 15, 23, 31)`. With `num_tokens=0, adapter=False` it is SAM's own encoder.
    As the image encoder of an `ESPMedSAMBackbone` it is the medical teacher. It has no modality
    controllers: all modalities share the additions.

    Args:
        hidden_dim: int. Width of the tokens.
        depth: int. Number of blocks.
        num_heads: int. Attention heads; must divide `hidden_dim`.
        mlp_ratio: float. Hidden width of the MLPs over `hidden_dim`.
        patch_size: int. Pixels per side of a patch, which is one position of the map.
        window_size: int. Side of the attention windows, in patches.
        global_indices: tuple of int. Blocks that attend over the whole map instead.
        neck_dim: int or None. Width of the embedding; `None` leaves the neck out and returns the
            last block's feature map.
        output_stride: int or None. Pixels per step of the embedding; `None` is `patch_size`.
        num_tokens: int. See `KeyValueTokens`; 10 as published, 0 for none.
        adapter: bool. Whether each block has a `ParallelAdapter`.
        adapter_zero_init: bool. See `ParallelAdapter`.
        image_shape: tuple `(height, width, 3)`; height and width multiples of `patch_size`.
        position_grid: (rows, columns) or None. The number of patches for which the position
            tables are stored; `None` is that of `image_shape`. For other sizes the tables are
            resized linearly, so that weights of one image size serve another, as
            `from_preset(..., image_shape=...)` does.
        dtype: dtype or `keras.DTypePolicy` of the layers.

    Call: images `(batch, height, width, 3)`, normalised by (x - mean) / std of ImageNet, to
    `(batch, height / output_stride, width / output_stride, neck_dim)`.

    Raises:
        ValueError: for an image shape or indices that do not fit.

    Example:
        >>> encoder = ViTMedBackbone(
        ...     hidden_dim=16, depth=2, num_heads=2, window_size=2, global_indices=(1,),
        ...     neck_dim=32, image_shape=(64, 96, 3))
        >>> tuple(encoder(np.zeros((1, 64, 96, 3))).shape)
        (1, 4, 6, 32)

    Source: SAM (arXiv 2304.02643); ESP-MedSAM (arXiv 2407.14153), figure, the additions, following
    the released code of its sibling UN-SAM (arXiv 2402.16663).
    """

    def __init__(
        self,
        hidden_dim=768,
        depth=12,
        num_heads=12,
        mlp_ratio=4,
        patch_size=16,
        window_size=14,
        global_indices=(2, 5, 8, 11),
        neck_dim=256,
        output_stride=None,
        num_tokens=10,
        adapter=True,
        adapter_zero_init=False,
        image_shape=(1024, 1024, 3),
        position_grid=None,
        dtype=None,
        **kwargs,
    ):
        check_sizes(
            "ViTMedBackbone",
            hidden_dim=hidden_dim,
            depth=depth,
            num_heads=num_heads,
            mlp_ratio=mlp_ratio,
            patch_size=patch_size,
            window_size=window_size,
            global_indices=global_indices,
            neck_dim=neck_dim,
            output_stride=output_stride,
            num_tokens=num_tokens,
            image_shape=image_shape,
            position_grid=position_grid,
        )
        image_shape = tuple(image_shape)
        if any(size is None or size % patch_size for size in image_shape[:2]):
            raise ValueError(
                f"ViTMedBackbone received image_shape={image_shape} and patch_size={patch_size}; "
                "give a height and a width that are multiples of the patch size."
            )
        if any(not 0 <= index < depth for index in global_indices):
            raise ValueError(
                f"ViTMedBackbone received global_indices={tuple(global_indices)} and "
                f"depth={depth}; give indices from 0 to {depth - 1}."
            )
        if position_grid is None:
            position_grid = [size // patch_size for size in image_shape[:2]]
        position_grid = tuple(position_grid)

        # === Layers ===
        self.patch_embedding = keras.layers.Conv2D(
            hidden_dim,
            patch_size,
            strides=patch_size,
            data_format="channels_last",
            name="patch_embedding",
            dtype=dtype,
        )
        self.position_embedding = PositionEmbedding(
            position_grid, name="position_embedding", dtype=dtype
        )
        self.blocks = [
            ViTMedBlock(
                num_heads,
                None if i in global_indices else window_size,
                mlp_ratio,
                num_tokens=num_tokens,
                adapter=adapter,
                adapter_zero_init=adapter_zero_init,
                table_size=position_grid if i in global_indices else None,
                name=f"block_{i}",
                dtype=dtype,
            )
            for i in range(depth)
        ]
        self.neck, _, stride = make_neck(
            "ViTMedBackbone", [patch_size], neck_dim, None, output_stride, dtype
        )

        # === Functional Model ===
        images = keras.Input(shape=image_shape, name="images")
        embedding = self.features(images)["embedding"]
        super().__init__(inputs=images, outputs=embedding, dtype=dtype, **kwargs)

        # === Config ===
        self.hidden_dim = hidden_dim
        self.depth = depth
        self.num_heads = num_heads
        self.mlp_ratio = mlp_ratio
        self.patch_size = patch_size
        self.window_size = window_size
        self.global_indices = tuple(global_indices)
        self.neck_dim = neck_dim
        self.output_stride = stride
        self.num_tokens = num_tokens
        self.adapter = adapter
        self.adapter_zero_init = adapter_zero_init
        self.image_shape = image_shape
        self.position_grid = position_grid

    @property
    def size_multiple(self):
        """Height and width must be multiples of it."""
        return self.patch_size

    @property
    def levels(self):
        block = FeatureLevel(self.patch_size, self.hidden_dim)
        levels = {f"block_{i}": block for i in range(self.depth)}
        width = self.neck_dim or self.hidden_dim
        return {**levels, "embedding": FeatureLevel(self.output_stride, width)}

    def features(self, images, modalities=None, controllers=True, training=None):
        """Compute the feature maps of all blocks and the embedding.

        Args:
            images: float tensor `(batch, height, width, 3)` of the size of `image_shape`,
                normalised.
            modalities: ignored; every image encoder takes it.
            controllers: bool. `False` runs SAM's encoder without tokens and adapters.
            training: bool or `None`. Has no effect here.

        Returns:
            dict of `block_0`, `block_1`, ... and `embedding`, each `(batch, h, w, channels)`.

        Example, with the class's `encoder`:
            >>> features = encoder.features(np.zeros((1, 64, 96, 3), "float32"))
            >>> tuple(features["block_0"].shape), tuple(features["embedding"].shape)
            ((1, 4, 6, 16), (1, 4, 6, 32))
        """
        # Omit arguments that are not needed: rematerialisation on JAX would trace them.
        choice = {} if controllers else {"controllers": False}
        x = self.position_embedding(self.patch_embedding(images))
        features = {}
        for i, block in enumerate(self.blocks):
            x = block(x, **choice)
            features[f"block_{i}"] = x
        if self.neck is not None:
            x = self.neck([x])
        return {**features, "embedding": x}

    def adapter_layers(self):
        """Return the medical additions: tokens and adapters, in the order of the blocks.

        Example, with the class's `encoder`: train as in the second phase of ESP-MedSAM.
            >>> for layer in encoder.pretrained_layers():
            ...     layer.trainable = False
            >>> sum(len(layer.trainable_weights) for layer in encoder.adapter_layers())
            20
            >>> len(encoder.trainable_weights)
            20

        Source: ESP-MedSAM (arXiv 2407.14153).
        """
        return [layer for block in self.blocks for layer in block.adapter_layers()]

    def pretrained_layers(self):
        """Return the layers of SAM's own encoder: all except the medical additions.

        Example, with the class's `encoder`:
            >>> len(encoder.pretrained_layers())
            15

        Source: SAM (arXiv 2304.02643).
        """
        layers = [self.patch_embedding, self.position_embedding]
        layers += [layer for block in self.blocks for layer in block.pretrained_layers()]
        return layers if self.neck is None else [*layers, self.neck]

    def layers_by_depth(self):
        return [
            [self.patch_embedding, self.position_embedding],
            *([block] for block in self.blocks),
        ]

    def get_config(self):
        return {
            **super().get_config(),
            "hidden_dim": self.hidden_dim,
            "depth": self.depth,
            "num_heads": self.num_heads,
            "mlp_ratio": self.mlp_ratio,
            "patch_size": self.patch_size,
            "window_size": self.window_size,
            "global_indices": self.global_indices,
            "neck_dim": self.neck_dim,
            "output_stride": self.output_stride,
            "num_tokens": self.num_tokens,
            "adapter": self.adapter,
            "adapter_zero_init": self.adapter_zero_init,
            "image_shape": self.image_shape,
            "position_grid": self.position_grid,
        }
