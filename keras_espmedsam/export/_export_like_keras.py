"""Keras' own `export`, from every backend: TensorFlow writes, if need be in another process."""

import os
from pathlib import Path

import keras

from keras_espmedsam.errors import InputError, did_you_mean
from keras_espmedsam.export.formats import check_installed, get_format
from keras_espmedsam.export.other_process import export_elsewhere

# Keras' names of the formats and ours; what PyTorch itself writes is none of ours.
FORMATS = {
    "tf_saved_model": "saved_model",
    "litert": "tflite",
    "onnx": "onnx",
    "openvino": "openvino",
    "torch": None,
}
# Of these an open height and width make 1 x 1, or operators that no phone has.
SIZED = ("litert", "torch")
# The options of Keras' export that another process can be told.
OPTIONS = ("opset_version",)


def export_like_keras(
    model, filepath, format="tf_saved_model", verbose=None, input_signature=None, **kwargs
):
    """What `export` of the tasks and backbones does; `export_model` is for users of images.

    Args:
        model: a task or a backbone.
        filepath, format, verbose, input_signature, **kwargs: see `export` of the models.

    Raises:
        InputError: for an unknown format, one that this backend cannot write, and options that
            another process cannot be told.

    Source: ours.
    """
    format = _checked_format(format)
    filepath = os.path.abspath(os.fspath(filepath))  # Keras' check of a suffix wants a string.
    backend = keras.backend.backend()
    if format == "torch" and backend != "torch":
        others = ", ".join(name for name in FORMATS if name != "torch")
        raise InputError(
            f'The format "torch" is written by PyTorch, and Keras runs on {backend} here; set '
            f"KERAS_BACKEND=torch, or choose one of {others}."
        )
    if input_signature is None:
        input_signature = _signature(model, format)
    if backend == ("torch" if format == "torch" else "tensorflow"):
        keras.Model.export(
            model,
            filepath,
            format=format,
            verbose=verbose,
            input_signature=input_signature,
            **kwargs,
        )
        return
    unknown = sorted(set(kwargs) - set(OPTIONS))
    if unknown:
        raise InputError(
            f"Received {', '.join(unknown)} with Keras on {backend}, where TensorFlow writes "
            f"{format} in a process of its own; leave it out, set KERAS_BACKEND=tensorflow, or use "
            "export_for, which has precision= and size=."
        )
    check_installed(get_format(FORMATS[format]))
    Path(filepath).parent.mkdir(parents=True, exist_ok=True)
    export_elsewhere(
        model,
        filepath=filepath,
        format=format,
        verbose=False,
        input_signature=_to_json(input_signature),
        **kwargs,
    )
    if verbose is None or verbose:
        print(f"Saved {format} at '{filepath}', written by TensorFlow.")


def _checked_format(format):
    ours = {own: name for name, own in FORMATS.items() if own is not None}
    found = ours.get(format, format) if isinstance(format, str) else None
    if found not in FORMATS:
        raise InputError(
            f"Received the format {format!r}; expected one of {', '.join(FORMATS)}"
            f"{did_you_mean(format, FORMATS)} A format of another package is written by export_for."
        )
    return found


def _signature(model, format):
    """What the network takes: of an open size and batch, as Keras has it, where the format can.

    Else one image of the preprocessor's size, or of the network's where that takes one alone. It is
    written down for all formats: of a model that was not called yet, Keras' ONNX would want it.
    """
    converter = getattr(getattr(model, "preprocessor", None), "image_converter", None)
    size = None if converter is None else converter.image_size
    flat = keras.tree.flatten(model.input)
    (images,) = (one for one in flat if len(one.shape) == 4)
    if None not in images.shape[1:3]:
        size = tuple(images.shape[1:3])
    if size is None and format == "torch":
        spec = 'keras.InputSpec(shape=(1, 256, 256, 3), dtype="float32", name="images")'
        raise InputError(
            "PyTorch has to know the size of the images, and this model takes any; give it as "
            f"input_signature, a list of what the model takes, with {spec} for the images."
        )
    one_image = format in SIZED and size is not None

    def spec(one):
        shape = (1 if one_image else None, *one.shape[1:])
        if one_image and one is images:
            shape = (1, *size, one.shape[3])
        return keras.InputSpec(shape=shape, dtype=one.dtype, name=one.name)

    return [keras.tree.map_structure(spec, model.input)]


def _to_json(signature):
    """A signature for the other process; a leaf of it becomes `{"spec": [shape, dtype, name]}`."""

    def entry(one):
        try:
            shape = tuple(None if side is None else int(side) for side in one.shape)
            dtype = keras.backend.standardize_dtype(one.dtype)
        except (AttributeError, TypeError, ValueError) as error:
            raise InputError(
                f"Received an input_signature with a {type(one).__name__} in it; expected "
                "keras.InputSpec with a shape and a dtype."
            ) from error
        # As Keras takes them: a specification to the letter, and of a tensor any batch of its kind.
        if not type(one).__name__.endswith("Spec"):
            shape = (None, *shape[1:])
        name = getattr(one, "name", None)
        return {"spec": [shape, dtype, name if isinstance(name, str) else None]}

    return None if signature is None else keras.tree.map_structure(entry, signature)


def to_signature(value):
    """The signature that was made ready for the other process.

    Example:
        >>> signature = to_signature([{"images": {"spec": [[1, 32, 32, 3], "float32", "images"]}}])
        >>> signature[0]["images"].shape
        (1, 32, 32, 3)

    Source: ours.
    """
    if value is None:
        return None
    if isinstance(value, list):
        return [to_signature(one) for one in value]
    if set(value) == {"spec"}:
        shape, dtype, name = value["spec"]
        return keras.InputSpec(shape=tuple(shape), dtype=dtype, name=name)
    return {key: to_signature(one) for key, one in value.items()}
