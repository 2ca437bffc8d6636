"""Build augmentations from a configuration."""

import dataclasses

import keras

from keras_espmedsam.errors import InputError, did_you_mean
from keras_espmedsam.training.data.appearance.make_appearance import make_appearance
from keras_espmedsam.training.data.augmentation import PLACED, Augmentation
from keras_espmedsam.training.data.medical_ranges import MEDICAL_RANGES


def make_augmentation(settings, modalities, records=(), added=None, appearance="none", excluded=()):
    """Return the `Augmentation` of each modality that a configuration describes.

    Args:
        settings: `"medical"`, `"none"`, or dict of modality or data set to arguments of
            `Augmentation`; the key `default` is for all other modalities.
        modalities: tuple of str.
        records: list of `Record`; their data sets are valid keys.
        added: `AddModalitySettings` or None. The new modality gets the medical ranges of the
            modality that it is initialised from.
        appearance: what `make_appearance` takes, for all modalities and data sets whose arguments
            do not say their own.
        excluded: names of data sets that are left out; what `settings` say of them is ignored.

    Returns:
        dict of each modality, and each data set that has its own, to `Augmentation`.

    Raises:
        InputError: for an unknown modality, argument or transform of appearance.

    Example:
        >>> make_augmentation({"default": {"rotation": 5}}, ("xray", "fundus"))["xray"].rotation
        5
    """
    transforms = make_appearance(appearance)
    if added is not None and settings in ("medical", "none"):
        modalities = (added.name,)
    datasets = list(dict.fromkeys(record.dataset for record in records))
    own: list[str] = []
    if settings == "none":
        made = {}
    elif settings == "medical":
        of = {} if added is None else {added.name: added.init_from}
        made = {name: MEDICAL_RANGES.get(of.get(name, name), Augmentation()) for name in modalities}
    else:
        chosen = _chosen(settings, modalities, datasets, excluded)
        made = {name: Augmentation.from_config(given) for name, given in chosen.items()}
        own = [name for name, given in chosen.items() if "appearance" in given]
    if not transforms:
        return made
    made = {**dict.fromkeys(modalities, PLACED), **made}
    return {
        name: one if name in own else dataclasses.replace(one, appearance=transforms)
        for name, one in made.items()
    }


def _chosen(settings, modalities, datasets, excluded):
    """Return the arguments of each modality, and of each data set that has its own."""
    known = (*modalities, *datasets, "default")
    unknown = [name for name in settings if name not in known and name not in excluded]
    if unknown:
        also = f", the data sets are {', '.join(datasets)}" if datasets else ""
        raise InputError(
            f"The configuration has augmentation.{unknown[0]}; the model knows "
            f"{', '.join(modalities)}{also}, and default is for all others"
            f"{did_you_mean(unknown[0], known)}"
        )
    chosen = {name: settings.get(name, settings.get("default")) for name in modalities}
    chosen |= {name: settings[name] for name in datasets if name in settings}
    return {name: given for name, given in chosen.items() if given is not None}


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
