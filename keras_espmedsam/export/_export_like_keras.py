"""Keras' own `export`, from every backend: TensorFlow writes, if need be in another process."""

import os
from pathlib import Path

import keras

from keras_espmedsam.errors import InputError, did_you_mean
from keras_espmedsam.export._export_model import export_model
from keras_espmedsam.export.formats import check_installed, get_format
from keras_espmedsam.export.input_signature import signature_to_json
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
# What Keras' converters made of a model in another process had an output of another rank; ours is
# run and compared.
COMPARED = ("onnx", "openvino")


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
    if format in COMPARED and backend != "tensorflow":
        _export_compared(model, filepath, format, input_signature, kwargs)
        return
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
    if kwargs:
        raise InputError(
            f"Received {', '.join(sorted(kwargs))} with Keras on {backend}, where TensorFlow "
            f"writes {format} in a process of its own; leave it out, set KERAS_BACKEND=tensorflow, "
            "or use export_for, which has precision= and size=."
        )
    check_installed(get_format(FORMATS[format]))
    Path(filepath).parent.mkdir(parents=True, exist_ok=True)
    export_elsewhere(
        model,
        filepath=filepath,
        format=format,
        verbose=False,
        input_signature=signature_to_json(input_signature),
    )
    if verbose is None or verbose:
        print(f"Saved {format} at '{filepath}', written by TensorFlow.")


def _export_compared(model, filepath, format, input_signature, options):
    if getattr(model, "preprocessor", None) is None or input_signature is not None or options:
        raise InputError(
            f"Keras on {keras.backend.backend()} writes {format} of a task with a preprocessor "
            "alone, and without an input_signature or other options; use export_for, which has "
            'size= and batch_size=, choose "tf_saved_model", or set KERAS_BACKEND=tensorflow.'
        )
    (images,) = (one for one in keras.tree.flatten(model.input) if len(one.shape) == 4)
    size = "any" if None in images.shape[1:3] else None
    export_model(model, format, filepath, size=size, flavor="logits", overwrite=True)


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
