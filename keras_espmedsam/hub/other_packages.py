"""Load objects of saved models whose classes other packages define."""

from collections.abc import Iterator
from typing import Any

import keras

from keras_espmedsam.errors import InputError
from keras_espmedsam.registries import Registry


def deserialize_with_others(config: Any, registry: Registry, instead: str = "") -> Any:
    """Deserialize a Keras object, also if an installed package defines its class.

    Keras knows a class only after its module was imported. For unknown classes, the packages that
    add to the registry are imported first.

    Args:
        config: a dict, or a nesting of them, from `keras.saving.serialize_keras_object`.
        registry: the registry that the object belongs to.
        instead: str. What else can be done, for the end of the message.

    Raises:
        InputError: when a class is defined nowhere.

    Example:
        >>> from keras_espmedsam.registries import losses
        >>> config = keras.saving.serialize_keras_object(keras.losses.MeanSquaredError())
        >>> type(deserialize_with_others(config, losses)).__name__
        'MeanSquaredError'
    """
    faults = registry.import_others() if any(_unknown(config)) else []
    try:
        return keras.saving.deserialize_keras_object(config)
    except TypeError as error:
        # Only now, because Keras has more ways to find a class.
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
    """Yield the parts of a configuration whose class is not registered with Keras."""
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
