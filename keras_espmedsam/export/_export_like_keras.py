"""Keras' own `export` from every backend; TensorFlow writes, in another process if needed."""

import contextlib
import os
from pathlib import Path

import keras

from keras_espmedsam._files import (
    alone_in,
    atomic_folder,
    carry_over,
    remove_leftovers,
    writing_folder,
)
from keras_espmedsam._shown import shown
from keras_espmedsam.errors import InputError, did_you_mean
from keras_espmedsam.export._export_model import export_model
from keras_espmedsam.export.formats import check_installed, get_format
from keras_espmedsam.export.input_signature import signature_to_json
from keras_espmedsam.export.other_process import export_elsewhere

# Names of the formats in Keras and in this package; PyTorch's own format has none here.
FORMATS = {
    "tf_saved_model": "saved_model",
    "litert": "tflite",
    "onnx": "onnx",
    "openvino": "openvino",
    "torch": None,
}
# For these, an open height and width give 1 x 1, or operators that no phone has.
SIZED = ("litert", "torch")
# Written by Keras' converters in another process, these had an output of another rank; instead
# this package's are written, run and compared.
COMPARED = ("onnx", "openvino")


def export_like_keras(
    model, filepath, format="tf_saved_model", verbose=None, input_signature=None, **kwargs
):
    """Implement `export` of tasks and backbones; to export for raw images use `export_model`.

    Args:
        model: a task or a backbone.
        filepath, format, verbose, input_signature, **kwargs: see `export` of the models.

    Raises:
        InputError: for an unknown format, one that this backend cannot write, and options that
            cannot be passed to another process.
    """
    format = _checked_format(format)
    filepath = os.path.abspath(os.fspath(filepath))  # Keras' check of a suffix needs a string.
    backend = keras.backend.backend()
    if format == "torch" and backend != "torch":
        others = ", ".join(name for name in FORMATS if name != "torch")
        raise InputError(
            f'The format "torch" is written by PyTorch, but Keras runs on {backend} here; set '
            f"KERAS_BACKEND=torch, or choose one of {others}."
        )
    if format in COMPARED and backend != "tensorflow":
        _export_compared(model, filepath, format, input_signature, kwargs)
        return
    if input_signature is None:
        input_signature = _signature(model, format)
    here = backend == ("torch" if format == "torch" else "tensorflow")
    if not here:
        if kwargs:
            raise InputError(
                f"Received {', '.join(sorted(kwargs))} with Keras on {backend}, where TensorFlow "
                f"writes {format} in a separate process; leave it out, set "
                "KERAS_BACKEND=tensorflow, or use export_for, which has precision= and size=."
            )
        check_installed(get_format(FORMATS[format]))
    with _put_in_place(Path(filepath)) as target:
        if here:
            keras.Model.export(
                model,
                str(target),
                format=format,
                verbose=False,
                input_signature=input_signature,
                **kwargs,
            )
        else:
            export_elsewhere(
                model,
                filepath=str(target),
                format=format,
                verbose=False,
                input_signature=signature_to_json(input_signature),
            )
    if verbose is None or verbose:
        by = "" if here else ", written by TensorFlow"
        print(f"Saved {format} at '{shown(filepath, 1000)}'{by}.")


@contextlib.contextmanager
def _put_in_place(path):
    """Yield a path in a temporary folder; when the block ends, its content replaces `path`.

    If the process is killed at any moment, `path` is either the old or the new version, and other
    content of its folder stays. The weights of an .xml are a separate file, which is moved first.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(path.parent)
        with writing_folder(path.parent) as folder:
            target = folder / path.name
            yield target
            with alone_in(path.parent):
                written = sorted(folder.iterdir(), key=lambda one: one.name == target.name)
                for one in written:
                    place = path.with_name(one.name)
                    if not one.is_dir():
                        os.replace(one, place)
                        continue
                    with atomic_folder(place, replace=True) as new:
                        for part in one.iterdir():
                            os.replace(part, new / part.name)
                        carry_over(place, new)  # As when Keras writes into an existing folder.
    except OSError as error:
        raise InputError(
            f"{shown(path, 1000)} cannot be written ({error.strerror or shown(error, 200)}); give "
            "another path, on a disk with enough space."
        ) from error


def _export_compared(model, filepath, format, input_signature, options):
    if getattr(model, "preprocessor", None) is None or input_signature is not None or options:
        raise InputError(
            f"Keras on {keras.backend.backend()} writes {format} only for a task with a "
            "preprocessor, and without an input_signature or other options; use export_for, which "
            'has size= and batch_size=, choose "tf_saved_model", or set KERAS_BACKEND=tensorflow.'
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
    """Return the network's inputs: of open size and batch, as in Keras, if the format allows.

    Otherwise one image of the preprocessor's size, or of the network's only size. It is given for
    all formats: for a model that was not called yet, Keras' ONNX export would ask for it.
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
            "PyTorch has to know the size of the images, but this model takes any; give it as "
            f"input_signature, a list of the model's inputs, with {spec} for the images."
        )
    one_image = format in SIZED and size is not None

    def spec(one):
        shape = (1 if one_image else None, *one.shape[1:])
        if one_image and one is images:
            shape = (1, *size, one.shape[3])
        return keras.InputSpec(shape=shape, dtype=one.dtype, name=one.name)

    return [keras.tree.map_structure(spec, model.input)]
