"""Build the optimizer and its learning rate from a configuration."""

import keras

from keras_espmedsam.errors import InputError
from keras_espmedsam.optimizers import DecoupledOptimizer, layerwise_learning_rates
from keras_espmedsam.training.part_learning_rates import part_learning_rates

_OPTIMIZERS = {
    "adam": keras.optimizers.Adam,
    "adamw": keras.optimizers.AdamW,
    "lion": keras.optimizers.Lion,
    "nadam": keras.optimizers.Nadam,
    "sgd": keras.optimizers.SGD,
}


def make_optimizer(settings, learning_rate, model, precision="float32"):
    """Build the optimizer of a phase.

    Args:
        settings: `OptimizerSettings`.
        learning_rate: float or `keras.optimizers.schedules.LearningRateSchedule`.
        model: the model to train, for learning rates by layer or part.
        precision: str. With `"mixed_float16"` the loss is scaled.

    Returns:
        `DecoupledOptimizer`, or a `LossScaleOptimizer` around one.

    Example:
        >>> from keras_espmedsam.training.config.phase_settings import OptimizerSettings
        >>> optimizer = make_optimizer(OptimizerSettings(name="adam"), 1e-3, None)
        >>> type(optimizer.optimizer).__name__
        'Adam'
    """
    options = {
        "momentum": settings.momentum,
        "clipnorm": settings.clipnorm,
        "global_clipnorm": settings.global_clipnorm,
        "gradient_accumulation_steps": _several(settings.accumulation_steps),
        "ema_momentum": settings.ema_momentum,
        "weight_decay": settings.weight_decay,
    }
    # Leave unset options to Keras' defaults.
    options = {name: value for name, value in options.items() if value is not None}
    optimizer = _OPTIMIZERS[settings.name](
        learning_rate, use_ema=settings.ema_momentum is not None, **options
    )
    multipliers = None
    if settings.layer_decay is not None:
        multipliers = layerwise_learning_rates(model, settings.layer_decay)
    if settings.part_rates:
        multipliers = part_learning_rates(model, settings.part_rates, multipliers)
    try:
        optimizer = DecoupledOptimizer(optimizer, multipliers)
    except ValueError as error:
        raise InputError(f"The optimizer cannot be built: {error}") from error
    if precision == "mixed_float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    return optimizer


def make_learning_rate(settings, epochs, steps):
    """Build the learning rate of a phase.

    Args:
        settings: `LearningRateSettings`.
        epochs, steps: int. Epochs of the phase, and steps per epoch.

    Returns:
        float, or a schedule by step.

    Raises:
        InputError: if the warm-up is as long as the phase.

    Example:
        >>> from keras_espmedsam.training.config.phase_settings import LearningRateSettings
        >>> settings = LearningRateSettings(rate=1e-3, schedule="exponential")
        >>> round(float(make_learning_rate(settings, epochs=20, steps=100)(150)), 6)
        0.00098

    Source: ESP-MedSAM's sibling projects, the factor 0.98 per epoch.
    """
    if settings.schedule == "constant":
        return settings.rate
    if settings.schedule == "exponential":
        return keras.optimizers.schedules.ExponentialDecay(
            settings.rate, decay_steps=steps, decay_rate=settings.decay_per_epoch, staircase=True
        )
    if settings.warmup_steps >= epochs * steps:
        raise InputError(
            f"Received warmup_steps={settings.warmup_steps} for a phase of {epochs * steps} steps; "
            "give fewer."
        )
    return keras.optimizers.schedules.CosineDecay(
        settings.rate * (0.05 if settings.warmup_steps else 1),
        decay_steps=epochs * steps - settings.warmup_steps,
        alpha=settings.final_rate / settings.rate,
        warmup_target=settings.rate if settings.warmup_steps else None,
        warmup_steps=settings.warmup_steps,
    )


def _several(steps):
    return steps if steps is not None and steps > 1 else None
