"""Query-Decoupled Modality Decoder: one learned query per target predicts its mask."""

import keras
import numpy as np
from keras import ops

from keras_espmedsam.layers.activations import gelu
from keras_espmedsam.layers.convolution import Conv2D
from keras_espmedsam.layers.feature_neck import CHANNEL_NORM_EPSILON
from keras_espmedsam.layers.fourier_positional_encoding import FourierPositionalEncoding
from keras_espmedsam.layers.mlp import MLP
from keras_espmedsam.layers.modality_variables import ModalityVariables, select_modality
from keras_espmedsam.layers.target_query import TargetQuery
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
    image attends to all of them, so none may be dropped). Then a hyper-network turns the query of
    the sample's modality into weights for a dot product with the upsampled image features.

    The query of an added modality is seen only by samples of that modality, so that it changes
    nothing for the others. Each sample has one slot for its own added query, hidden if it has
    none: the cost does not grow with the number of added modalities.

    A modality may have several targets, each a channel of the masks. The query above is that of
    the first. Each further target has a `TargetQuery`, which reads the queries and the image but
    is never read, so that it changes no other mask. Samples have as many slots for these as the
    modality with the most targets needs.

    Args:
        num_queries: int. Number of learned queries (7 in the release, the last of which is never
            read).
        query_indices: tuple of int. The query of each modality, in the order of the modality
            indices; added queries start at `num_queries`.
        depth, num_heads, mlp_dim, downsample_rate: see `TwoWayTransformer`.
        shared_hypernetwork: bool. One hyper-network for all queries, as released, or one per
            query, as the paper draws it.
        num_added_queries: int. Queries of modalities that were added later; each belongs to
            exactly one.
        detail_dims: tuple of int. Widths of the fine maps of a `DetailBranch`, which are added as
            the image features are upsampled; SAM's decoder has none.
        upscaling: int. How much finer the mask is than the embedding: 4, as in SAM, or, with
            details, a larger power of two.
        num_channels: tuple of int or None. Targets of each modality; `None` is one for each.
        adapter_dims: tuple of tuple of int or None. The `adapter_dim` of each modality's further
            targets; `None` for no adapters.

    Input: `image_embeddings` and `dense_prompt`, `(batch, height, width, channels)`;
    `modalities`, `(batch,)` int, or `None` with a single modality; `details`, the list of the
    fine maps, the first of the mask's size, each further one half of that.
    `call(..., all_queries=True)` returns the masks of all `num_queries` queries and, if there are
    added queries, one more: that of the sample's own added query, with logits 0 if it has none;
    further targets are left out.
    Output shape: `(batch, upscaling * height, upscaling * width, masks)`, float32 logits; `masks`
    is the largest of `num_channels`, with logits 0 in channels beyond a sample's own, or with
    `all_queries` `num_queries` or `num_queries + 1`.

    Raises:
        ValueError: for `query_indices` that do not fit the numbers of queries, and details that
            do not fit the upscaling.

    Example:
        >>> decoder = QueryDecoupledModalityDecoder(7, query_indices=range(6), num_heads=2)
        >>> x = np.ones((2, 4, 4, 32))
        >>> tuple(decoder(x, x, np.array([0, 3])).shape)
        (2, 16, 16, 1)

    Source: ESP-MedSAM (arXiv 2407.14153). Departs from the paper: added queries, further targets,
    and details, as in HQ-SAM (arXiv 2306.01567).
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
        num_channels=None,
        adapter_dims=None,
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
        self.num_channels = tuple(num_channels or (1,) * len(self.query_indices))
        further = [count - 1 for count in self.num_channels]
        self.adapter_dims = tuple(map(tuple, adapter_dims or [(0,) * count for count in further]))
        if [len(dims) for dims in self.adapter_dims] != further or len(further) != len(
            self.query_indices
        ):
            raise ValueError(
                f"Received num_channels={self.num_channels} and adapter_dims={self.adapter_dims} "
                f"for {len(self.query_indices)} modalities; expected a number of channels for "
                "each, and one adapter_dim for each channel after the first."
            )

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
                # -1: for a query that no modality reads.
                read = i in self.query_indices
                for variable in hypernetwork.trainable_variables:
                    variable.modality = self.query_indices.index(i) if read else -1
        self._build_added(channels)
        self._build_targets(channels)
        self._build_details(channels)
        self.built = True

    def _build_details(self, channels):
        """Build what SAM's decoder lacks: further upsampling steps and the detail projections."""
        dtype, width = self.dtype_policy, channels // 8
        steps = self.upscaling.bit_length() - 1
        self.further_upscales = [
            UpscalingConv2D(width, name=f"upscale_{i}", dtype=dtype) for i in range(3, steps + 1)
        ]
        for layer in self.further_upscales:
            layer.build((None, None, None, width))
        # In the order of the details, finest first.
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
        """Upsample height and width by `upscaling`, to `channels // 8` channels."""
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
        """Build the weights of the added modalities, each in its own layers."""
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

    def _build_targets(self, channels):
        """Build the weights of the targets after each modality's first."""
        self.target_queries = [
            TargetQuery(
                modality, target, dim, name=f"target_{modality}_{target}", dtype=self.dtype_policy
            )
            for modality, dims in enumerate(self.adapter_dims)
            for target, dim in enumerate(dims, start=1)
        ]
        for layer in self.target_queries:
            layer.build((None, None, channels))

    def _hypernetwork(self, channels, name):
        # The head: float32 under every dtype policy.
        network = MLP((channels, channels, channels // 8), name=name, dtype="float32")
        network.build((None, None, channels))
        return network

    def added_layers(self, modality):
        """Return the layers of one modality alone, except for a first query that is shared.

        Args:
            modality: int. Index of the modality.

        Returns:
            List of layers: of an added modality, its query and, if they are not shared, its
            hyper-network; then the `TargetQuery` of each further target.
        """
        i = self.query_indices[modality] - self.num_queries
        own = [] if i < 0 else [self.added_queries[i], *self.added_hypernetworks[i : i + 1]]
        return [*own, *self.target_layers(modality)]

    def target_layers(self, modality):
        """Return the `TargetQuery` of each target of a modality after the first."""
        return [layer for layer in self.target_queries if layer.modality == modality]

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

        readers = None
        if self.target_queries and not all_queries:
            readers = self.own_target_queries(modalities)
            readers = ops.broadcast_to(readers, (batch, *readers.shape[1:]))
        queries, pixels, *read = self.transformer(
            queries, pixels, positions, hidden, readers=readers
        )

        features = ops.reshape(pixels, (batch, height, width, channels))
        features = ops.cast(self._upscale(features, details), "float32")
        height, width = self.upscaling * height, self.upscaling * width
        features = ops.reshape(features, (batch, height * width, channels // 8))
        kernels = self.hyper_kernels(queries, place)
        if not all_queries:
            kernels = self.own_query(kernels, modalities)
        masks = ops.matmul(features, ops.transpose(kernels, (0, 2, 1)))
        masks = ops.reshape(masks, (batch, height, width, kernels.shape[1]))
        if not read:
            return masks
        # A product of its own: in one with the first target, this could be rounded differently.
        further = self.further_masks(features, read[0], modalities)
        further = ops.reshape(further, (batch, height, width, readers.shape[1]))
        return ops.concatenate([masks, further], axis=-1)

    def own_target_queries(self, modalities):
        """Return each sample's further queries, `(batch or 1, slots, channels)`, 0 if unused."""
        dtype = self.compute_dtype
        none = ops.zeros(self.target_queries[0].query.shape, dtype)
        slots = [
            select_modality(
                [none if layer is None else ops.cast(layer.query, dtype) for layer in layers],
                modalities,
            )
            for layers in self._slots()
        ]
        return ops.stack(slots, axis=1)

    def _slots(self):
        """Return, for each channel after the first, a layer or `None` per modality."""
        by_modality = [self.target_layers(i) for i in range(len(self.num_channels))]
        return [
            [layers[slot] if slot < len(layers) else None for layers in by_modality]
            for slot in range(max(self.num_channels) - 1)
        ]

    def further_masks(self, features, readers, modalities):
        """Return the masks of the further targets, `(batch, pixels, slots)`.

        Args:
            features: `(batch, pixels, channels // 8)` float32.
            readers: `(batch, slots, channels)`, the further queries after the transformer.
            modalities: `(batch,)` int, or `None` with one modality.
        """
        masks = []
        for slot, layers in enumerate(self._slots()):
            kernel = self._own_kernel(layers, readers[:, slot : slot + 1], modalities)
            mask = ops.matmul(features, ops.transpose(kernel, (0, 2, 1)))
            if any(layer is not None and layer.adapter_dim for layer in layers):
                down, bias, up = self._own_adapter(layers, features, modalities)
                hidden = gelu(ops.matmul(features, down) + bias)
                mask = mask + ops.matmul(hidden, ops.matmul(up, ops.transpose(kernel, (0, 2, 1))))
            masks.append(mask)
        return masks[0] if len(masks) == 1 else ops.concatenate(masks, axis=-1)

    def _own_kernel(self, layers, query, modalities):
        if len(layers) == 1:
            return layers[0](query)
        kernel = ops.zeros((1, 1, query.shape[-1] // 8), "float32")
        for modality, layer in enumerate(layers):
            if layer is not None:
                own = ops.equal(modalities, device_number(modality, like=modalities))
                kernel = ops.where(own[:, None, None], layer(query), kernel)
        return kernel

    def _own_adapter(self, layers, features, modalities):
        """Return the adapter weights of each sample, filled up with zeros to one width."""
        dim = max(layer.adapter_dim for layer in layers if layer is not None)
        width = features.shape[-1]
        values = []
        for layer in layers:
            if layer is None or not layer.adapter_dim:
                shapes = ((width, dim), (1, dim), (dim, width))
                values.append([ops.zeros(shape, "float32") for shape in shapes])
                continue
            fill = dim - layer.adapter_dim
            weights = (layer.down, layer.down_bias, layer.up)
            down, bias, up = (ops.cast(weight, "float32") for weight in weights)
            bias = bias[None]
            values.append(
                [
                    ops.pad(down, ((0, 0), (0, fill))) if fill else down,
                    ops.pad(bias, ((0, 0), (0, fill))) if fill else bias,
                    ops.pad(up, ((0, fill), (0, 0))) if fill else up,
                ]
            )
        return [select_modality(list(each), modalities) for each in zip(*values, strict=True)]

    def added_place(self, modalities, all_queries):
        """Return each sample's added query, from 1, or 0 for none; `None` with one modality."""
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
        """Append each sample's added query, and return a mask that hides it if there is none."""
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
        """Convert `(batch, queries, channels)` to dot-product weights of `channels // 8`."""
        base = queries[:, : self.num_queries] if self.num_added_queries else queries
        if self.shared_hypernetwork:
            kernels = [self.hypernetworks[0](base)]
        else:
            kernels = [net(base[:, i : i + 1]) for i, net in enumerate(self.hypernetworks)]
        if self.num_added_queries:
            kernels.append(self.added_kernel(queries[:, self.num_queries :], place))
        return kernels[0] if len(kernels) == 1 else ops.concatenate(kernels, axis=1)

    def added_kernel(self, query, place):
        """Return the weights of the sample's added query, zero if it has none."""
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
        """Return each sample's row, `(batch, 1, channels // 8)`, of `(batch, queries, ...)`."""
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
                self.num_queries + bool(self.num_added_queries)
                if all_queries
                else max(self.num_channels),
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
            "num_channels": self.num_channels,
            "adapter_dims": self.adapter_dims,
        }
