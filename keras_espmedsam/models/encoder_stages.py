"""What the image encoders have in common: stages of blocks, and a neck over some of them."""

import keras

from keras_espmedsam.layers import FeatureNeck


def make_neck(name, stage_strides, neck_dim, neck_levels, output_stride, dtype):
    """The neck of an encoder, or none.

    Args:
        name: str. The encoder's class, for errors.
        stage_strides: list of int. Pixels per step of each stage's feature map.
        neck_dim: int or None. Width of the embedding; `None` leaves the neck out.
        neck_levels: tuple of int or None. Stages that enter it; `None` is the last one.
        output_stride: int or None. `None` is the last stage's.
        dtype: of the neck.

    Returns:
        `FeatureNeck` or `None`, the levels, and the output stride.

    Raises:
        ValueError: for levels or a stride of their own without a neck.

    Source: ours.
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


def connect(image_shape, num_modalities, stem, blocks, mergings, neck, levels):
    """The functional graph of an encoder.

    Args:
        image_shape: tuple `(height, width, 3)`.
        num_modalities: int. With several, the graph has the input `modalities` for the blocks
            that hold controllers.
        stem: layer.
        blocks: list of lists of layers, by stage.
        mergings: list of layers, one between two stages.
        neck, levels: as `make_neck` gives them.

    Returns:
        The inputs (images, or a dict with `modalities`), the output, and the stages' feature maps.

    Source: ours.
    """
    images = keras.Input(shape=image_shape, name="images")
    inputs, modalities = images, None
    if num_modalities > 1:
        modalities = keras.Input(shape=(), dtype="int32", name="modalities")
        inputs = {"images": images, "modalities": modalities}
    x = stem(images)
    features = []
    for stage, stage_blocks in enumerate(blocks):
        for block in stage_blocks:
            holds_controllers = modalities is not None and hasattr(block, "controller_layers")
            x = block(x, modalities) if holds_controllers else block(x)
        features.append(x)
        if stage < len(mergings):
            x = mergings[stage](x)
    if neck is not None:
        x = neck([features[level] for level in levels])
    return inputs, x, features


def controller_layers(blocks, index):
    """The layers that hold the controller of modality `index`, in the order of the blocks.

    Args:
        blocks: list of lists of layers, by stage.
        index: int. The modality.

    Source: ours; the controller is ESP-MedSAM's (arXiv 2407.14153).
    """
    return [
        layer
        for stage in blocks
        for block in stage
        if hasattr(block, "controller_layers")
        for layer in block.controller_layers(index)
    ]
