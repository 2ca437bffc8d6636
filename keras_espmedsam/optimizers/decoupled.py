"""Make any optimizer keep separate state for each modality."""

import keras

from keras_espmedsam.optimizers.decoupled_optimizer import DecoupledOptimizer


def decoupled(optimizer):
    """Wrap an optimizer in `DecoupledOptimizer`, unless it already is one.

    Loss scaling stays outermost, where Keras looks for it under `mixed_float16`.

    Args:
        optimizer: `keras.optimizers.Optimizer`.

    Returns:
        `DecoupledOptimizer`, or a `LossScaleOptimizer` around one.

    Example:
        >>> from keras_espmedsam.optimizers import decoupled
        >>> type(decoupled(keras.optimizers.Adam())).__name__
        'DecoupledOptimizer'
    """
    inner = optimizer
    while inner is not None:
        if isinstance(inner, DecoupledOptimizer):
            return optimizer
        inner = getattr(inner, "inner_optimizer", None)
    if not isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        return DecoupledOptimizer(optimizer)
    config = optimizer.get_config()
    return keras.optimizers.LossScaleOptimizer(
        decoupled(optimizer.inner_optimizer),
        initial_scale=config["initial_scale"],
        dynamic_growth_steps=config["dynamic_growth_steps"],
        name=config["name"],
    )
