"""EfficientNet-Lite as a backbone of keras-hub: its five sizes, and its tensors by name."""

import math
from typing import Any, NamedTuple

from keras_espmedsam.converters.matching import CONV, DEPTHWISE, Entry

_STEM_WIDTH = 32
_WIDTHS = (16, 24, 40, 80, 112, 192, 320)
_REPEATS = (1, 2, 2, 3, 3, 4, 1)


class Variant(NamedTuple):
    """One of the five sizes.

    Attributes:
        name: such as `"EfficientNet-Lite0"`.
        width: by what the widths of the stages are multiplied; the stem and the last convolution
            keep theirs.
        depth: by what the repeats of all stages but the first and the last are multiplied.
        image_size: side in pixels of the images that it was trained with.
    """

    name: str
    width: float
    depth: float
    image_size: int

    @property
    def widths(self) -> list[int]:
        """Channels after each stage."""
        return [_rounded(width * self.width) for width in _WIDTHS]

    @property
    def repeats(self) -> list[int]:
        """Blocks of each stage."""
        inner = [math.ceil(repeats * self.depth) for repeats in _REPEATS[1:-1]]
        return [_REPEATS[0], *inner, _REPEATS[-1]]


VARIANTS = (
    Variant("EfficientNet-Lite0", 1.0, 1.0, 224),
    Variant("EfficientNet-Lite1", 1.0, 1.1, 240),
    Variant("EfficientNet-Lite2", 1.1, 1.2, 260),
    Variant("EfficientNet-Lite3", 1.2, 1.4, 280),
    Variant("EfficientNet-Lite4", 1.4, 1.8, 300),
)


def _rounded(width: float) -> int:
    """Round to a multiple of 8, but not down by more than a tenth."""
    rounded = max(8, int(width + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * width else rounded


def backbone_config(variant: Variant) -> dict[str, Any]:
    """Return the arguments of `keras_hub.models.EfficientNetBackbone` for a variant.

    Widths and repeats are written out, and all coefficients are 1, because keras-hub would scale
    the last convolution too. In a block of type `"unfused"` a convolution of stride 2 pads as
    TensorFlow's `"same"`; in one of type `"v1"` it pads all sides. The first stage has stride 1,
    where both are the same, and no expansion, for which `"unfused"` has another kernel.

    Args:
        variant: `Variant`.

    Returns:
        dict.

    Example:
        >>> backbone_config(VARIANTS[2])["stackwise_output_filters"]
        [16, 24, 48, 88, 120, 208, 352]
    """
    widths = variant.widths
    return {
        "stackwise_width_coefficients": [1.0] * 7,
        "stackwise_depth_coefficients": [1.0] * 7,
        "stackwise_kernel_sizes": [3, 3, 5, 3, 5, 5, 3],
        "stackwise_num_repeats": variant.repeats,
        "stackwise_input_filters": [_STEM_WIDTH, *widths[:-1]],
        "stackwise_output_filters": widths,
        "stackwise_expansion_ratios": [1, 6, 6, 6, 6, 6, 6],
        "stackwise_squeeze_and_excite_ratios": [0.0] * 7,
        "stackwise_strides": [1, 2, 2, 2, 1, 2, 1],
        "stackwise_block_types": ["v1", *["unfused"] * 6],
        "activation": "relu6",
        # Stochastic depth, which only training has: up to whoever trains it.
        "dropout": 0.0,
        "include_stem_padding": False,
        "stem_conv_padding": "same",
        "batch_norm_momentum": 0.99,
        "batch_norm_epsilon": 1e-3,
    }


def backbone_entries(backbone: Any) -> list[Entry]:
    """Return the entries of a backbone that was built by `backbone_config`.

    Args:
        backbone: `keras_hub.models.EfficientNetBackbone`.

    Returns:
        List of `Entry`, with the names of `efficientnet-lite-pytorch`.
    """
    layer = backbone.get_layer
    entries = _conv_norm("_conv_stem", layer("stem_conv"), "_bn0", layer("stem_bn"))
    number = 0
    for stage, repeats in enumerate(backbone.stackwise_num_repeats, start=1):
        for letter in map(chr, range(ord("a"), ord("a") + repeats)):
            entries += _block(f"_blocks.{number}.", layer, f"block{stage}{letter}_")
            number += 1
    return [*entries, *_conv_norm("_conv_head", layer("top_conv"), "_bn1", layer("top_bn"))]


def _block(prefix, layer, name):
    if name.startswith("block1"):  # Of type "v1", whose layers are the backbone's own.
        depthwise = layer(f"{name}dwconv"), layer(f"{name}dwconv_bn")
        project = layer(f"{name}project"), layer(f"{name}project_bn")
        expand = ()
    else:
        block = layer(name)
        depthwise = block.depthwise, block.bn2
        project = block.output_conv, block.bn3
        expand = _conv_norm(f"{prefix}_expand_conv", block.conv1, f"{prefix}_bn0", block.bn1)
    return [
        *expand,
        *_conv_norm(f"{prefix}_depthwise_conv", depthwise[0], f"{prefix}_bn1", depthwise[1]),
        *_conv_norm(f"{prefix}_project_conv", project[0], f"{prefix}_bn2", project[1]),
    ]


def _conv_norm(conv_name, conv, norm_name, norm):
    layout = DEPTHWISE if conv_name.endswith("_depthwise_conv") else CONV
    return [
        Entry(f"{conv_name}.weight", conv.kernel, layout),
        Entry(f"{norm_name}.weight", norm.gamma),
        Entry(f"{norm_name}.bias", norm.beta),
        Entry(f"{norm_name}.running_mean", norm.moving_mean),
        Entry(f"{norm_name}.running_var", norm.moving_variance),
    ]
