"""Query-Decoupled Modality Decoder: one learned query per modality paints its mask."""

import keras
import numpy as np
from keras import ops

from keras_espmedsam.layers.activations import gelu
from keras_espmedsam.layers.convolution import Conv2D
from keras_espmedsam.layers.feature_neck import CHANNEL_NORM_EPSILON
from keras_espmedsam.layers.fourier_positional_encoding import FourierPositionalEncoding
from keras_espmedsam.layers.mlp import MLP
from keras_espmedsam.layers.modality_variables import ModalityVariables, select_modality
from keras_espmedsam.layers.two_way_transformer import TwoWayTransformer
from keras_espmedsam.layers.upscaling_conv2d import UpscalingConv2D
from keras_espmedsam.ops.device_constant import device_constant, device_number

# SAM's: two transposed convolutions of stride 2 follow the transformer.
UPSCALING = 4


def _as_int32(numbers):
    return np.array(numbers, "int32")


def _one_hot(rows, count):
    return np.eye(count, dtype="float32")[list(rows)]


def _random_query():
    # A PyTorch Embedding's initial values, as SAM's tokens.
    return keras.initializers.RandomNormal(stddev=1.0)


@keras.saving.register_keras_serializable(package="keras_espmedsam")
class QueryDecoupledModalityDecoder(keras.layers.Layer):
    """Decode an image embedding into the mask of each sample's own modality.

    All queries go through the two-way transformer together (they attend to each other and the
    image attends to all of them, so none may be dropped); then the query of the sample's
    modality, through a hyper-network, becomes the weights of a dot product with the enlarged
    image features.

    The query of a modality that was added later is seen by samples of that modality alone, so
    that it changes nothing for the others. Each sample has one place for its own added query,
    hidden where it has none: the cost does not grow with the number of added modalities.

    Args:
        num_queries: int. Number of learned queries (7 in the release, the last of which is never
            read).
        query_indices: tuple of int. The query of each modality, in the order of the modality
            indices; from `num_queries` on the added ones.
        depth, num_heads, mlp_dim, downsample_rate: see `TwoWayTransformer`.
        shared_hypernetwork: bool. One hyper-network for all queries, as released, or one per
            query, as the paper draws (that form is ours).
        num_added_queries: int. Queries of modalities that were added later; each is the query of
            exactly one.
        detail_dims: tuple of int. Widths of the fine maps of a `DetailBranch` that join where the
            image features are enlarged; none in SAM's decoder.
        upscaling: int. How much finer the mask is than the embedding: 4, as SAM's, or a larger
            power of two with details.

    Input: `image_embeddings` and `dense_prompt`, `(batch, height, width, channels)`;
    `modalities`, `(batch,)` int, or `None` with a single modality; `details`, the list of the
    fine maps, the first of the mask's size, each next half of that.
    `call(..., all_queries=True)` gives the masks of all `num_queries` queries, and with added
    queries one more: that of the sample's own added query, logits 0 where it has none.
    Output shape: `(batch, upscaling * height, upscaling * width, masks)`, float32 logits; `masks`
    is 1, or with `all_queries` `num_queries` or `num_queries + 1`.

    Raises:
        ValueError: for `query_indices` that do not fit the numbers of queries, and details that
            do not fit the upscaling.

    Example:
        >>> decoder = QueryDecoupledModalityDecoder(7, query_indices=range(6), num_heads=2)
        >>> x = np.ones((2, 4, 4, 32))
        >>> tuple(decoder(x, x, np.array([0, 3])).shape)
        (2, 16, 16, 1)

    Source: ESP-MedSAM (arXiv 2407.14153). The added queries and the details are ours; fine maps
    join a SAM decoder also in HQ-SAM (arXiv 2306.01567).
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
        num_added_queries=0,
        detail_dims=(),
        upscaling=UPSCALING,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.detail_dims = tuple(detail_dims)
        self.upscaling = upscaling
        self._check_upscaling()
        self.num_queries = num_queries
        self.query_indices = tuple(query_indices)
        self.num_added_queries = num_added_queries
        total = num_queries + num_added_queries
        if any(not 0 <= index < total for index in self.query_indices):
            raise ValueError(
                f"Received query_indices={self.query_indices} for num_queries={num_queries} and "
                f"num_added_queries={num_added_queries}; give one index from 0 to {total - 1} per "
                "modality."
            )
        added = sorted(index for index in self.query_indices if index >= num_queries)
        if added != list(range(num_queries, total)):
            raise ValueError(
                f"Received query_indices={self.query_indices} with num_added_queries="
                f"{num_added_queries}; give each index from {num_queries} to {total - 1} once."
            )
        self.depth = depth
        self.num_heads = num_heads
        self.mlp_dim = mlp_dim
        self.downsample_rate = downsample_rate
        self.shared_hypernetwork = shared_hypernetwork

    def _check_upscaling(self):
        steps = int(self.upscaling).bit_length() - 1
        whole = self.upscaling == 2**steps and self.upscaling >= UPSCALING
        if not whole or (self.upscaling > UPSCALING and not self.detail_dims):
            raise ValueError(
                f"Received upscaling={self.upscaling} and detail_dims={self.detail_dims}; expected "
                f"a power of two from {UPSCALING} on, and details where it is larger."
            )
        if len(self.detail_dims) > steps:
            raise ValueError(
                f"Received detail_dims={self.detail_dims} for upscaling={self.upscaling}; expected "
                f"at most one map for each of its {steps} steps."
            )

    def build(self, image_embeddings_shape):
        channels = image_embeddings_shape[-1]
        dtype = self.dtype_policy
        self.queries = self.add_weight(
            shape=(self.num_queries, channels), initializer=_random_query(), name="queries"
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
        self.upscale_1 = UpscalingConv2D(channels // 4, name="upscale_1", dtype=dtype)
        self.upscale_norm = keras.layers.LayerNormalization(
            epsilon=CHANNEL_NORM_EPSILON, name="upscale_norm", dtype=dtype
        )
        self.upscale_2 = UpscalingConv2D(channels // 8, name="upscale_2", dtype=dtype)
        self.hypernetworks = [
            self._hypernetwork(channels, f"hypernetwork_{i}")
            for i in range(1 if self.shared_hypernetwork else self.num_queries)
        ]
        self.positional_encoding.build(image_embeddings_shape)
        self.transformer.build((None, self.num_queries, channels))
        self.upscale_1.build((None, None, None, channels))
        self.upscale_norm.build((None, None, None, channels // 4))
        self.upscale_2.build((None, None, None, channels // 4))
        for i, hypernetwork in enumerate(self.hypernetworks):
            if not self.shared_hypernetwork:
                # -1: that of a query which no modality reads.
                read = i in self.query_indices
                for variable in hypernetwork.trainable_variables:
                    variable.modality = self.query_indices.index(i) if read else -1
        self._build_added(channels)
        self._build_details(channels)
        self.built = True

    def _build_details(self, channels):
        """What SAM's decoder has not: further steps of enlarging, and what joins the details."""
        dtype, width = self.dtype_policy, channels // 8
        steps = self.upscaling.bit_length() - 1
        self.further_upscales = [
            UpscalingConv2D(width, name=f"upscale_{i}", dtype=dtype) for i in range(3, steps + 1)
        ]
        for layer in self.further_upscales:
            layer.build((None, None, None, width))
        # From the finest on, as the details.
        widths = [width] * (steps - 1) + [channels // 4]
        self.laterals = [
            Conv2D(widths[i], 1, use_bias=False, name=f"lateral_{i}", dtype=dtype)
            for i in range(len(self.detail_dims))
        ]
        for layer, dim in zip(self.laterals, self.detail_dims, strict=True):
            layer.build((None, None, None, dim))
        self.merge = None
        if self.detail_dims:
            self.merge = Conv2D(width, 3, pad=1, name="merge", dtype=dtype)
            self.merge.build((None, None, None, width))

    def _upscale(self, features, details):
        """`upscaling` times the height and width, and `channels // 8` channels."""
        upscales = [self.upscale_1, self.upscale_2, *self.further_upscales]
        for i, upscale in enumerate(upscales):
            features = upscale(features)
            level = len(upscales) - 1 - i
            if level < len(self.laterals):
                features = features + self.laterals[level](details[level])
            if i < 2:
                features = gelu(self.upscale_norm(features) if i == 0 else features)
            else:
                features = ops.relu(features)
        return features if self.merge is None else ops.relu(self.merge(features))

    def _build_added(self, channels):
        """The weights of the added modalities, each in layers of its own."""
        self.added_queries, self.added_hypernetworks = [], []
        for i in range(self.num_added_queries):
            modality = self.query_indices.index(self.num_queries + i)
            query = ModalityVariables(
                {"query": (channels,)},
                {"query": _random_query()},
                modality=modality,
                name=f"added_query_{i}",
                dtype=self.dtype_policy,
            )
            query.build()
            self.added_queries.append(query)
            if not self.shared_hypernetwork:
                network = self._hypernetwork(channels, f"added_hypernetwork_{i}")
                for variable in network.trainable_variables:
                    variable.modality = modality
                self.added_hypernetworks.append(network)

    def _hypernetwork(self, channels, name):
        # The head: float32 under every dtype policy.
        network = MLP((channels, channels, channels // 8), name=name, dtype="float32")
        network.build((None, None, channels))
        return network

    def added_layers(self, modality):
        """The layers that an added modality has of its own; none for another.

        Args:
            modality: int. Index of the modality.

        Returns:
            List of layers: its query, and its hyper-network where they are not shared.
        """
        i = self.query_indices[modality] - self.num_queries
        if i < 0:
            return []
        return [self.added_queries[i], *self.added_hypernetworks[i : i + 1]]

    def call(
        self, image_embeddings, dense_prompt, modalities=None, details=None, all_queries=False
    ):
        batch, height, width, channels = ops.shape(image_embeddings)
        pixels = ops.reshape(image_embeddings + dense_prompt, (batch, height * width, channels))
        positions = ops.cast(self.positional_encoding(image_embeddings), self.compute_dtype)
        positions = ops.reshape(positions, (1, height * width, channels))
        queries = ops.cast(self.queries, self.compute_dtype)
        queries = ops.broadcast_to(queries[None], (batch, self.num_queries, channels))

        place = hidden = None
        if self.num_added_queries:
            place = self.added_place(modalities, all_queries)
            queries, hidden = self.with_own_added_query(queries, place)

        queries, pixels = self.transformer(queries, pixels, positions, hidden)

        features = ops.reshape(pixels, (batch, height, width, channels))
        features = ops.cast(self._upscale(features, details), "float32")
        height, width = self.upscaling * height, self.upscaling * width
        features = ops.reshape(features, (batch, height * width, channels // 8))
        kernels = self.hyper_kernels(queries, place)
        if not all_queries:
            kernels = self.own_query(kernels, modalities)
        masks = ops.matmul(features, ops.transpose(kernels, (0, 2, 1)))
        return ops.reshape(masks, (batch, height, width, kernels.shape[1]))

    def added_place(self, modalities, all_queries):
        """Which added query is each sample's, from 1, or 0 for none; `None` with one modality."""
        if len(self.query_indices) == 1:
            return None
        if modalities is None and all_queries:
            raise ValueError(
                "Received no modalities for a decoder with added queries, which only samples of "
                "their modality see; give one index per image also with all_queries."
            )
        places = tuple(max(index - self.num_queries + 1, 0) for index in self.query_indices)
        modalities = ops.convert_to_tensor(modalities)
        return ops.take(device_constant(_as_int32, places, like=modalities), modalities)

    def with_own_added_query(self, queries, place):
        """Append each sample's added query, and say where it is hidden: where there is none."""
        batch, count, channels = ops.shape(queries)
        values = [ops.cast(layer["query"], self.compute_dtype) for layer in self.added_queries]
        if place is None:
            own, hidden = values[0], None
        else:
            own = select_modality([ops.zeros_like(values[0]), *values], place)
            hidden = ops.equal(place, device_number(0, like=place))[:, None]
            hidden = ops.concatenate([ops.zeros((batch, count), "bool"), hidden], axis=1)
        own = ops.broadcast_to(ops.reshape(own, (-1, 1, channels)), (batch, 1, channels))
        return ops.concatenate([queries, own], axis=1), hidden

    def hyper_kernels(self, queries, place=None):
        """`(batch, queries, channels)` to dot-product weights, `channels // 8` wide."""
        base = queries[:, : self.num_queries] if self.num_added_queries else queries
        if self.shared_hypernetwork:
            kernels = [self.hypernetworks[0](base)]
        else:
            kernels = [net(base[:, i : i + 1]) for i, net in enumerate(self.hypernetworks)]
        if self.num_added_queries:
            kernels.append(self.added_kernel(queries[:, self.num_queries :], place))
        return kernels[0] if len(kernels) == 1 else ops.concatenate(kernels, axis=1)

    def added_kernel(self, query, place):
        """The weights of the sample's added query, zero where there is none."""
        networks = self.hypernetworks if self.shared_hypernetwork else self.added_hypernetworks
        if place is None:
            return networks[0](query)
        kernel = ops.zeros((1, 1, query.shape[-1] // 8), "float32")
        for i, network in enumerate(networks):
            own = place > 0
            if not self.shared_hypernetwork:
                own = ops.equal(place, device_number(i + 1, like=place))
            kernel = ops.where(own[:, None, None], network(query), kernel)
        return kernel

    def own_query(self, kernels, modalities):
        """Each sample's row, `(batch, 1, channels // 8)`, of `(batch, queries, ...)`."""
        # All added queries share the last row.
        rows = tuple(min(index, self.num_queries) for index in self.query_indices)
        if len(rows) == 1:
            return kernels[:, rows[0] : rows[0] + 1]
        choices = device_constant(_one_hot, rows, kernels.shape[1], like=kernels)
        choice = ops.take(choices, modalities, axis=0)
        return ops.sum(kernels * choice[:, :, None], axis=1, keepdims=True)

    def compute_output_spec(
        self, image_embeddings, dense_prompt, modalities=None, details=None, all_queries=False
    ):
        batch, height, width, _ = image_embeddings.shape
        return keras.KerasTensor(
            (
                batch,
                None if height is None else self.upscaling * height,
                None if width is None else self.upscaling * width,
                self.num_queries + bool(self.num_added_queries) if all_queries else 1,
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
            "num_added_queries": self.num_added_queries,
            "detail_dims": self.detail_dims,
            "upscaling": self.upscaling,
        }
