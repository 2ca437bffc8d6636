"""Other learning rates for some parts of a segmenter, such as a pretrained encoder."""

from keras_espmedsam.errors import InputError
from keras_espmedsam.training.trainable_parts import layers_of_parts, queries_of


def part_learning_rates(model, factors, others=None):
    """Return the learning rate factor of each variable of some parts.

    Args:
        model: `ESPMedSAMImageSegmenter`, `ESPMedSAMBackbone` or an image encoder.
        factors: dict of a part's name, as `select_trainable` knows them, to a float above 0.
        others: dict of layer path to float or None. Factors of layers, such as those of
            `layerwise_learning_rates`; a variable gets the product of both.

    Returns:
        dict of path to float, for `DecoupledOptimizer(..., learning_rate_multipliers=...)`.

    Raises:
        InputError: for a part that the model does not have.

    Example:
        >>> encoder = TiCBackbone(
        ...     hidden_dims=(8, 8), depths=(1, 1), num_heads=(1, 1), kernel_size=3)
        >>> rates = part_learning_rates(encoder, {"shared_encoder": 0.25})
        >>> set(rates.values())
        {0.25}

    Source: discriminative fine-tuning of ULMFiT (arXiv 1801.06146), by part.
    """
    model = getattr(model, "student", model)
    model = getattr(model, "backbone", model)
    variables = {
        variable.path: part
        for part, layers in layers_of_parts(model)
        for layer in layers
        for variable in layer.variables
    }
    if hasattr(model, "mask_decoder"):
        variables |= {variable.path: "queries" for variable in queries_of(model)}
    lacking = [part for part in factors if part not in variables.values()]
    if lacking:
        raise InputError(
            f"Received a learning rate for the part {lacking[0]}, which this model does not have; "
            f"it has {', '.join(dict.fromkeys(variables.values()))}."
        )
    others = others or {}
    rates = dict(others)
    for path, part in variables.items():
        if part in factors:
            around = [key for key in others if f"{path}/".startswith(f"{key}/")]
            rates[path] = factors[part] * (others[max(around, key=len)] if around else 1.0)
    return rates
