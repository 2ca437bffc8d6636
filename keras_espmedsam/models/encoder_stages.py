"""The parts shared by image encoders with stages: blocks, mergings, and a neck over stages."""

import dataclasses

import keras

from keras_espmedsam.layers import FeatureNeck
from keras_espmedsam.layers.adapted_block import AdaptedBlock
from keras_espmedsam.models.image_encoder import FeatureLevel, ImageEncoder


def make_neck(name, stage_strides, neck_dim, neck_levels, output_stride, dtype):
    """Build the neck of an encoder, if it has one.

    Args:
        name: str. The encoder's class, for errors.
        stage_strides: list of int. Pixels per step of each stage's feature map.
        neck_dim: int or None. Width of the embedding; `None` builds no neck.
        neck_levels: tuple of int or None. Stages that enter it; `None` is the last one.
        output_stride: int or None. `None` is the last stage's.
        dtype: dtype of the neck.

    Returns:
        `FeatureNeck` or `None`, the levels, and the output stride.

    Raises:
        ValueError: for levels or a stride without a neck.
    """
    last = len(stage_strides) - 1
    levels = tuple(neck_levels) if neck_levels is not None else (last,)
    stride = output_stride or stage_strides[-1]
    if neck_dim is None:
        if levels != (last,) or stride != stage_strides[-1]:
            raise ValueError(
                f"{name} received neck_levels={neck_levels} and output_stride={output_stride} "
                "without a neck; give neck_dim."
            )
        return None, levels, stride
    neck = FeatureNeck(
        neck_dim,
        strides=[stage_strides[level] for level in levels],
        output_stride=stride,
        name="neck",
        dtype=dtype,
    )
    return neck, levels, stride


@dataclasses.dataclass(frozen=True)
class EncoderStages:
    """The layers of an encoder in the order in which they are called.

    Args:
        stem: layer.
        blocks: list of lists of layers, by stage.
        mergings: list of layers, one between each two stages.
        neck, levels: as `make_neck` returns them.
    """

    stem: keras.layers.Layer
    blocks: list
    mergings: list
    neck: keras.layers.Layer | None
    levels: tuple

    def features(self, images, modalities=None, controllers=True, training=None):
        """Compute all feature maps, of tensors or symbolically.

        Args:
            images: `(batch, height, width, 3)`.
            modalities: `(batch,)` int, or `None` with 0 or 1 controllers, or without them.
            controllers: bool. `False` runs only the shared encoder.
            training: bool or `None`.

        Returns:
            dict of `stage_0`, `stage_1`, ... and `embedding`, the encoder's output.
        """
        x = self.stem(images, training=training)
        features = {}
        for stage, stage_blocks in enumerate(self.blocks):
            for block in stage_blocks:
                if isinstance(block, AdaptedBlock):
                    x = block(x, modalities, controllers=controllers, training=training)
                else:
                    x = block(x, training=training)
            features[f"stage_{stage}"] = x
            if stage < len(self.mergings):
                x = self.mergings[stage](x, training=training)
        if self.neck is not None:
            x = self.neck([features[f"stage_{level}"] for level in self.levels])
        return {**features, "embedding": x}


def connect(image_shape, num_modalities, stages):
    """Build the functional graph of an encoder.

    Args:
        image_shape: tuple `(height, width, 3)`.
        num_modalities: int. If more than 1, the graph has the input `modalities`.
        stages: `EncoderStages`.

    Returns:
        The inputs (images, or a dict with `modalities`), and the feature maps by name.
    """
    images = keras.Input(shape=image_shape, name="images")
    inputs, modalities = images, None
    if num_modalities > 1:
        modalities = keras.Input(shape=(), dtype="int32", name="modalities")
        inputs = {"images": images, "modalities": modalities}
    return inputs, stages.features(images, modalities)


class StagedImageEncoder(ImageEncoder):
    """Implements the encoder contract for encoders with `EncoderStages` as `encoder_stages`.

    The encoder also has the attributes `hidden_dims`, by stage, `stage_strides` and `neck_dim`.
    """

    @property
    def levels(self):
        levels = {
            f"stage_{stage}": FeatureLevel(stride, width)
            for stage, (stride, width) in enumerate(
                zip(self.stage_strides, self.hidden_dims, strict=True)
            )
        }
        width = self.neck_dim or self.hidden_dims[-1]
        return {**levels, "embedding": FeatureLevel(self.output_stride, width)}

    @property
    def size_multiple(self):
        """Height and width must be multiples of it: 1 unless maps of several strides are added."""
        strides = {self.stage_strides[level] for level in self.encoder_stages.levels}
        strides.add(self.output_stride)
        return 1 if len(strides) == 1 else max(strides)

    def features(self, images, modalities=None, controllers=True, training=None):
        """Compute the feature maps of all stages and the embedding.

        Args:
            images: float tensor `(batch, height, width, 3)`, normalised.
            modalities: int tensor `(batch,)`; not needed with 0 or 1 controllers, or without them.
            controllers: bool. `False` runs only the shared encoder, without any modality's
                controller, as for learning what the modalities have in common.
            training: bool or `None`. In training mode BatchNorm uses and updates its statistics.

        Returns:
            dict of `stage_0`, `stage_1`, ... and `embedding`, each `(batch, h, w, channels)`.

        Example:
            >>> encoder = TinyViTBackbone(
            ...     hidden_dims=(16, 16, 32, 32), depths=(1, 1, 1, 1), num_heads=(1, 2, 2),
            ...     window_sizes=(4, 4, 4), neck_dim=32, num_modalities=6)
            >>> features = encoder.features(np.zeros((1, 32, 32, 3), "float32"), controllers=False)
            >>> tuple(features["embedding"].shape)
            (1, 2, 2, 32)

        Source: ESP-MedSAM (arXiv 2407.14153): the shared encoder without controllers is the
        modality aggregator of its first phase.
        """
        return self.encoder_stages.features(images, modalities, controllers, training)

    def controller_layers(self, index):
        """Return the layers of one modality's controller, in the order of the blocks.

        Args:
            index: int. The modality, less than `num_modalities`.

        Example:
            >>> encoder = TiCBackbone(
            ...     hidden_dims=(16, 16), depths=(1, 1), num_heads=(1, 2), kernel_size=3,
            ...     num_modalities=2)
            >>> len(encoder.controller_layers(1))
            4

        Source: the controller is ESP-MedSAM's (arXiv 2407.14153).
        """
        if not self.num_modalities:
            return []
        return [
            layer
            for stage in self.encoder_stages.blocks
            for block in stage
            if isinstance(block, AdaptedBlock)
            for layer in block.controller_layers(index)
        ]

    def layers_by_depth(self):
        stages = self.encoder_stages
        depths = [[stages.stem]]
        for stage, blocks in enumerate(stages.blocks):
            depths += [[block] for block in blocks]
            if stage > 0:
                # A patch-merging layer belongs to the block after it.
                depths[-len(blocks)].insert(0, stages.mergings[stage - 1])
        return depths
