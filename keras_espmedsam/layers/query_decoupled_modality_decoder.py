"""Query-Decoupled Modality Decoder: one learned query per modality paints its mask."""

import keras
from keras import ops

from keras_espmedsam.layers.activations import gelu
from keras_espmedsam.layers.feature_neck import CHANNEL_NORM_EPSILON
from keras_espmedsam.layers.fourier_positional_encoding import FourierPositionalEncoding
from keras_espmedsam.layers.mlp import MLP
from keras_espmedsam.layers.two_way_transformer import TwoWayTransformer

# Two transposed convolutions of stride 2 follow the transformer.
UPSCALING = 4


@keras.saving.register_keras_serializable(package="keras_espmedsam")
class QueryDecoupledModalityDecoder(keras.layers.Layer):
    """Decode an image embedding into the mask of each sample's own modality.

    All queries go through the two-way transformer together (they attend to each other and the
    image attends to all of them, so none may be dropped); then the query of the sample's
    modality, through a hyper-network, becomes the weights of a dot product with the enlarged
    image features.

    Args:
        num_queries: int. Number of learned queries (7 in the release, the last of which is never
            read).
        query_indices: tuple of int. The query of each modality, in the order of the modality
            indices.
        depth, num_heads, mlp_dim, downsample_rate: see `TwoWayTransformer`.
        shared_hypernetwork: bool. One hyper-network for all queries, as released, or one per
            query, as the paper draws (that form is ours).

    Input: `image_embeddings` and `dense_prompt`, `(batch, height, width, channels)`;
    `modalities`, `(batch,)` int, or `None` with a single modality.
    `call(..., all_queries=True)` gives the masks of all `num_queries` queries.
    Output shape: `(batch, 4 * height, 4 * width, 1 or num_queries)`, float32 logits.

    Example:
        >>> decoder = QueryDecoupledModalityDecoder(7, query_indices=range(6), num_heads=2)
        >>> x = np.ones((2, 4, 4, 32))
        >>> tuple(decoder(x, x, np.array([0, 3])).shape)
        (2, 16, 16, 1)

    Source: ESP-MedSAM (arXiv 2407.14153).
    """

    def __init__(
        self,
        num_queries,
        query_indices,
        depth=2,
        num_heads=8,
        mlp_dim=2048,
        downsample_rate=2,
        shared_hypernetwork=True,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.num_queries = num_queries
        self.query_indices = tuple(query_indices)
        if any(not 0 <= index < num_queries for index in self.query_indices):
            raise ValueError(
                f"Received query_indices={self.query_indices} for num_queries={num_queries}; "
                f"give one index from 0 to {num_queries - 1} per modality."
            )
        self.depth = depth
        self.num_heads = num_heads
        self.mlp_dim = mlp_dim
        self.downsample_rate = downsample_rate
        self.shared_hypernetwork = shared_hypernetwork

    def build(self, image_embeddings_shape):
        channels = image_embeddings_shape[-1]
        dtype = self.dtype_policy
        self.queries = self.add_weight(
            shape=(self.num_queries, channels),
            # A PyTorch Embedding's initial values, as SAM's tokens.
            initializer=keras.initializers.RandomNormal(stddev=1.0),
            name="queries",
        )
        self.positional_encoding = FourierPositionalEncoding(channels, name="positional_encoding")
        self.transformer = TwoWayTransformer(
            self.depth,
            self.num_heads,
            self.mlp_dim,
            self.downsample_rate,
            name="transformer",
            dtype=dtype,
        )
        self.upscale_1 = keras.layers.Conv2DTranspose(
            channels // 4, 2, strides=2, name="upscale_1", dtype=dtype
        )
        self.upscale_norm = keras.layers.LayerNormalization(
            epsilon=CHANNEL_NORM_EPSILON, name="upscale_norm", dtype=dtype
        )
        self.upscale_2 = keras.layers.Conv2DTranspose(
            channels // 8, 2, strides=2, name="upscale_2", dtype=dtype
        )
        # The head: float32 under every dtype policy.
        self.hypernetworks = [
            MLP((channels, channels, channels // 8), name=f"hypernetwork_{i}", dtype="float32")
            for i in range(1 if self.shared_hypernetwork else self.num_queries)
        ]
        self.positional_encoding.build(image_embeddings_shape)
        self.transformer.build((None, self.num_queries, channels))
        self.upscale_1.build((None, None, None, channels))
        self.upscale_norm.build((None, None, None, channels // 4))
        self.upscale_2.build((None, None, None, channels // 4))
        for i, hypernetwork in enumerate(self.hypernetworks):
            hypernetwork.build((None, None, channels))
            if not self.shared_hypernetwork:
                # -1: that of a query which no modality reads.
                read = i in self.query_indices
                for variable in hypernetwork.trainable_variables:
                    variable.modality = self.query_indices.index(i) if read else -1
        self.built = True

    def call(self, image_embeddings, dense_prompt, modalities=None, all_queries=False):
        batch, height, width, channels = ops.shape(image_embeddings)
        pixels = ops.reshape(image_embeddings + dense_prompt, (batch, height * width, channels))
        positions = ops.cast(self.positional_encoding(image_embeddings), self.compute_dtype)
        positions = ops.reshape(positions, (1, height * width, channels))
        queries = ops.cast(self.queries, self.compute_dtype)
        queries = ops.broadcast_to(queries[None], (batch, self.num_queries, channels))

        queries, pixels = self.transformer(queries, pixels, positions)

        features = ops.reshape(pixels, (batch, height, width, channels))
        features = gelu(self.upscale_norm(self.upscale_1(features)))
        features = gelu(self.upscale_2(features))
        features = ops.cast(features, "float32")
        features = ops.reshape(
            features, (batch, UPSCALING * height * UPSCALING * width, channels // 8)
        )
        kernels = self.hyper_kernels(queries)
        if not all_queries:
            kernels = self.own_query(kernels, modalities)
        masks = ops.matmul(features, ops.transpose(kernels, (0, 2, 1)))
        return ops.reshape(masks, (batch, UPSCALING * height, UPSCALING * width, kernels.shape[1]))

    def hyper_kernels(self, queries):
        """`(batch, num_queries, channels)` to dot-product weights, `channels // 8` wide."""
        if self.shared_hypernetwork:
            return self.hypernetworks[0](queries)
        kernels = [net(queries[:, i : i + 1]) for i, net in enumerate(self.hypernetworks)]
        return ops.concatenate(kernels, axis=1)

    def own_query(self, kernels, modalities):
        """Each sample's row, `(batch, 1, channels // 8)`, of `(batch, num_queries, ...)`."""
        if len(self.query_indices) == 1:
            index = self.query_indices[0]
            return kernels[:, index : index + 1]
        index = ops.take(ops.convert_to_tensor(self.query_indices, dtype="int32"), modalities)
        choice = ops.one_hot(index, self.num_queries, dtype="float32")
        return ops.sum(kernels * choice[:, :, None], axis=1, keepdims=True)

    def compute_output_spec(
        self, image_embeddings, dense_prompt, modalities=None, all_queries=False
    ):
        batch, height, width, _ = image_embeddings.shape
        return keras.KerasTensor(
            (
                batch,
                None if height is None else UPSCALING * height,
                None if width is None else UPSCALING * width,
                self.num_queries if all_queries else 1,
            ),
            dtype="float32",
        )

    def get_config(self):
        return {
            **super().get_config(),
            "num_queries": self.num_queries,
            "query_indices": self.query_indices,
            "depth": self.depth,
            "num_heads": self.num_heads,
            "mlp_dim": self.mlp_dim,
            "downsample_rate": self.downsample_rate,
            "shared_hypernetwork": self.shared_hypernetwork,
        }
