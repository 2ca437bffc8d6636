"""A model's inputs as JSON, for the process that writes on another backend."""

import keras

from keras_espmedsam.errors import InputError


def signature_to_json(signature):
    """Convert a signature to JSON; a leaf becomes `{"spec": [shape, dtype, name]}`."""

    def entry(one):
        try:
            shape = tuple(None if side is None else int(side) for side in one.shape)
            dtype = keras.backend.standardize_dtype(one.dtype)
        except (AttributeError, TypeError, ValueError) as error:
            raise InputError(
                f"Received an input_signature with a {type(one).__name__} in it; expected "
                "keras.InputSpec with a shape and a dtype."
            ) from error
        # As Keras takes them: a specification literally, a tensor as any batch of its kind.
        if not type(one).__name__.endswith("Spec"):
            shape = (None, *shape[1:])
        name = getattr(one, "name", None)
        return {"spec": [shape, dtype, name if isinstance(name, str) else None]}

    return None if signature is None else keras.tree.map_structure(entry, signature)


def signature_from_json(value):
    """Restore a signature from `signature_to_json`.

    Example:
        >>> spec = {"spec": [[1, 32, 32, 3], "float32", "images"]}
        >>> signature_from_json([{"images": spec}])[0]["images"].shape
        (1, 32, 32, 3)
    """
    if value is None:
        return None
    if isinstance(value, list):
        return [signature_from_json(one) for one in value]
    if set(value) == {"spec"}:
        shape, dtype, name = value["spec"]
        return keras.InputSpec(shape=tuple(shape), dtype=dtype, name=name)
    return {key: signature_from_json(one) for key, one in value.items()}
