"""What a `DecoupledDistiller` is saved as."""

import keras

from keras_espmedsam.hub.other_packages import deserialize_with_others
from keras_espmedsam.registries import image_encoders
from keras_espmedsam.registries import losses as mask_losses


def distiller_config(distiller):
    """Return the arguments of a distiller, serialized.

    Args:
        distiller: `DecoupledDistiller`.

    Returns:
        dict, for `distiller_arguments`.
    """
    serialize = keras.saving.serialize_keras_object
    return {
        "student": serialize(distiller.student),
        "common_teachers": serialize(dict(distiller.common_teachers)),
        "domain_teachers": serialize(dict(distiller.domain_teachers)),
        "phase": distiller.phase,
        "losses": {
            teacher: [serialize(term) for term in terms]
            for stream in distiller.losses_by_teacher.values()
            for teacher, terms in stream.items()
        },
        "label_losses": serialize(dict(distiller.label_losses)),
        "label_weight": distiller.label_weight,
    }


def distiller_arguments(config):
    """Return the arguments for a distiller from its configuration.

    Args:
        config: dict, of `DecoupledDistiller.get_config`.

    Returns:
        dict of keyword arguments.
    """
    deserialize = keras.saving.deserialize_keras_object
    config = dict(config)
    for key in ("student", "common_teachers", "domain_teachers"):
        config[key] = deserialize_with_others(config[key], image_encoders)
    config["label_losses"] = deserialize_with_others(config["label_losses"], mask_losses)
    config["losses"] = {
        teacher: [deserialize(term) for term in terms]
        for teacher, terms in config["losses"].items()
    }
    return config
