"""Objects of saved models whose classes other packages define."""

from collections.abc import Iterator
from typing import Any

import keras

from keras_espmedsam.errors import InputError
from keras_espmedsam.registries import Registry


def deserialize_with_others(config: Any, registry: Registry, instead: str = "") -> Any:
    """Keras' `deserialize_keras_object`, of what installed packages define, too.

    Keras knows a class once its module was imported. What is not known yet is looked for among the
    packages that add to a family.

    Args:
        config: a dict, or several of them, as `keras.saving.serialize_keras_object` writes it.
        registry: the family that it belongs to.
        instead: str. What else can be done, at the end of the sentence.

    Raises:
        InputError: when a class is defined nowhere.

    Example:
        >>> from keras_espmedsam.registries import losses
        >>> config = keras.saving.serialize_keras_object(keras.losses.MeanSquaredError())
        >>> type(deserialize_with_others(config, losses)).__name__
        'MeanSquaredError'

    Source: ours.
    """
    faults = registry.import_others() if any(_unknown(config)) else []
    try:
        return keras.saving.deserialize_keras_object(config)
    except TypeError as error:
        # Keras has more ways to find one: it is asked first.
        missing = next(_unknown(config), None)
        if missing is None:
            raise
        name, module = missing.get("registered_name"), missing.get("module")
        fault = next((fault for fault in faults if module and f"'{module}:" in fault), "")
        if fault:
            raise InputError(fault) from error
        raise InputError(
            f"The {registry.noun} {name!r} of the module {module!r} is not known here; install the "
            f"package that defines it, or import it first{instead and ', or '}{instead}."
        ) from error


def _unknown(config: Any) -> Iterator[dict[str, Any]]:
    """The parts of a configuration that name a class which nobody has registered with Keras."""
    if isinstance(config, dict):
        name = config.get("registered_name")
        if isinstance(name, str) and keras.saving.get_registered_object(name) is None:
            if str(config.get("module")).partition(".")[0] not in ("keras", "keras_hub"):
                yield config
        for value in config.values():
            yield from _unknown(value)
    elif isinstance(config, list | tuple):
        for value in config:
            yield from _unknown(value)
