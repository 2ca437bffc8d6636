"""Build augmentations from a configuration."""

import keras

from keras_espmedsam.errors import InputError
from keras_espmedsam.training.data.augmentation import Augmentation
from keras_espmedsam.training.data.medical_ranges import MEDICAL_RANGES


def make_augmentation(settings, modalities, records=(), added=None):
    """Return the `Augmentation` of each modality that a configuration describes.

    Args:
        settings: `"medical"`, `"none"`, or dict of modality or data set to arguments of
            `Augmentation`; the key `default` is for all other modalities.
        modalities: tuple of str.
        records: list of `Record`; their data sets are valid keys.
        added: `AddModalitySettings` or None. The new modality gets the medical ranges of the
            modality that it is initialised from.

    Returns:
        dict of each modality, and each data set that has its own, to `Augmentation`.

    Raises:
        InputError: for an unknown modality or argument.

    Example:
        >>> make_augmentation({"default": {"rotation": 5}}, ("xray", "fundus"))["xray"].rotation
        5
    """
    if settings == "none":
        return {}
    if settings == "medical" and added is not None:
        return {added.name: MEDICAL_RANGES.get(added.init_from, Augmentation())}
    if settings == "medical":
        return {name: MEDICAL_RANGES.get(name, Augmentation()) for name in modalities}
    datasets = list(dict.fromkeys(record.dataset for record in records))
    unknown = [name for name in settings if name not in (*modalities, *datasets, "default")]
    if unknown:
        also = f", the data sets are {', '.join(datasets)}" if datasets else ""
        raise InputError(
            f"The configuration has augmentation.{unknown[0]}; the model knows "
            f"{', '.join(modalities)}{also}, and default is for all others."
        )
    chosen = {name: settings.get(name, settings.get("default")) for name in modalities}
    chosen |= {name: settings[name] for name in datasets if name in settings}
    return {
        name: Augmentation.from_config(arguments)
        for name, arguments in chosen.items()
        if arguments is not None
    }


def make_layers(settings):
    """Build the Keras image layers that a configuration names.

    Args:
        settings: list of dicts with the key `layer`, a class in `keras.layers`, and its arguments.

    Raises:
        InputError: for an unknown layer or argument.

    Example:
        >>> make_layers([{"layer": "RandomFlip", "mode": "horizontal"}])[0].mode
        'horizontal'
    """
    layers = []
    for number, arguments in enumerate(settings):
        arguments = dict(arguments)
        name = arguments.pop("layer", None)
        layer = getattr(keras.layers, str(name), None)
        if layer is None:
            raise InputError(
                f"The configuration has keras_augmentation.{number}.layer={name}; expected the "
                "name of one of Keras' image layers, such as RandomElasticTransform."
            )
        try:
            layers.append(layer(**arguments))
        except (TypeError, ValueError) as error:
            raise InputError(
                f"The layer keras_augmentation.{number} cannot be built: {error}"
            ) from error
    return layers
