"""Smaller learning rates for earlier layers."""

from keras_espmedsam.errors import InputError


def layerwise_learning_rates(model, decay):
    """Return a learning rate factor for each block of an image encoder, falling towards the input.

    The last block, the neck and everything after have the factor 1, each block before has `decay`
    times the factor of the next, and the layers before the first block get `decay` once more. A
    patch-merging layer counts with the block after it; controllers, tokens and adapters count with
    the block that they are in.

    Args:
        model: `TinyViTBackbone`, `TiCBackbone` or `ViTMedBackbone`, or a model around one, such
            as `ESPMedSAMImageSegmenter`.
        decay: float, above 0 and at most 1.

    Returns:
        dict of layer path to float, for `DecoupledOptimizer(..., learning_rate_multipliers=...)`.

    Raises:
        InputError: for another decay, or an encoder without blocks.

    Example:
        >>> from keras_espmedsam.optimizers import layerwise_learning_rates
        >>> encoder = TiCBackbone(
        ...     hidden_dims=(8, 8), depths=(1, 1), num_heads=(1, 1), kernel_size=3)
        >>> layerwise_learning_rates(encoder, 0.5)
        {'patch_embedding': 0.25, 'stage_0_block_0': 0.5, 'stage_0_merging': 1.0, \
'stage_1_block_0': 1.0}

    Source: ULMFiT (arXiv 1801.06146), in the form of BEiT (arXiv 2106.08254).
    """
    if not 0 < decay <= 1:
        raise InputError(f"Received the layer decay {decay}; expected one above 0, at most 1.")
    for attribute in ("student", "backbone", "image_encoder"):
        model = getattr(model, attribute, model)
    # Ask the encoder itself: the models are above this package.
    depths = getattr(model, "layers_by_depth", list)()
    if not depths:
        raise InputError(
            f"Received {type(model).__name__} for learning rates by layer; expected an encoder of "
            "blocks: TinyViTBackbone, TiCBackbone or ViTMedBackbone."
        )
    return {
        layer.path: decay ** (len(depths) - 1 - depth)
        for depth, layers in enumerate(depths)
        for layer in layers
    }
