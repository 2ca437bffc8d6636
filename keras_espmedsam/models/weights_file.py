"""Check that a file of weights fits a model, before it is loaded."""

import math
import pathlib
import re
from typing import NamedTuple

import h5py
import keras
import numpy as np

from keras_espmedsam.errors import InputError
from keras_espmedsam.hub.from_preset import is_loading_preset
from keras_espmedsam.layers.modality_variables import ModalityVariables
from keras_espmedsam.layers.target_query import TargetQuery
from keras_espmedsam.models.lora import KERNELS
from keras_espmedsam.models.model_layers import model_layers

# Keras' path of a layer's weights has its class in snake case before the last part.
_OWNED = re.compile(rb"(^|/)(modality_variables|target_query)(_\d+)?/vars$")
# The optimizer's state is in the same file.
_OPTIMIZER = b"optimizer/"
_REST = "or pass skip_mismatch=True to load what fits"


def check_weights_fit(model, path):
    """Reject a file of another model's weights, of which Keras would load a part.

    Keras ignores what is too many, and leaves out lists of layers that are missing.

    Args:
        model: `keras.Model`.
        path: path of the file. One that is missing, or not a `.weights.h5`, is left to Keras.

    Raises:
        InputError: for other targets, and another number of quantised weights; outside of
            `from_preset` also for other modalities, and another number of all weights.
    """
    path = pathlib.Path(path)
    if not path.name.endswith(".weights.h5") or not path.is_file():
        return
    held = _read(path)
    own = {
        layer.name
        for layer in model_layers(model)
        if isinstance(layer, ModalityVariables | TargetQuery)
    }
    # In from_preset, arguments may change the network, and it compares the numbers itself.
    whole = not is_loading_preset()
    if whole:
        _check_modalities(path, held.layers, own, model)
    _check_targets(path, held.layers, own, model)
    _check_integers(path, held.integers, model)
    if whole:
        _check_count(path, held, model)


class _Held(NamedTuple):
    """What a file holds: arrays, numbers, int8 arrays, names of a modality's own layers."""

    arrays: int
    numbers: int
    integers: int
    layers: frozenset[str]


def _read(path):
    """Read what a file holds, without its arrays."""
    names, sizes, integers, layers = [], [], 0, set()
    # h5py's low-level interface: the usual one takes several times as long.
    with h5py.File(path, "r") as file:
        file.id.links.visit(names.append)
        for name in names:
            if name.startswith(_OPTIMIZER):
                continue
            if _OWNED.search(name):
                layers.add(str(file[name].attrs.get("name", "")))
            elif name.rpartition(b"/")[2].isdigit():  # Everything else is a group.
                one = h5py.h5o.open(file.id, name)
                if isinstance(one, h5py.h5d.DatasetID):
                    sizes.append(math.prod(one.shape))
                    integers += one.dtype == np.int8
    return _Held(len(sizes), sum(sizes), integers, frozenset(layers))


def _check_modalities(path, held, own, model):
    for kind, before, after in (
        ("modality", "the controllers of", ""),
        ("added_query", "the queries of", "added "),
    ):
        stored, wanted = (
            len({name for name in names if re.fullmatch(rf"{kind}_\d+", name)})
            for names in (held, own)
        )
        if stored != wanted:
            several = _counted(stored, f"{after}modality", f"{after}modalities")
            known = getattr(model, "modalities", ())
            raise InputError(
                f"The file {path} holds {before} {several}, and this model has "
                f"{f'those of {wanted}' if wanted else 'none'}"
                + (f" (its modalities are {', '.join(known)})" if known else "")
                + f". Load the file into a model of the saved one's modalities, {_REST}."
            )


def _check_targets(path, held, own, model):
    more, less = (sorted(_numbers(a - b)) for a, b in ((held, own), (own, held)))
    if not more and not less:
        return
    targets = getattr(model, "target_set", None)

    def modality(number):
        known = () if targets is None else targets.modalities
        return known[number] if number < len(known) else f"modality {number}"

    def name(number, channel):
        return targets.channels(modality(number))[channel] if targets else f"channel {channel}"

    parts = []
    if more:
        counts = {number: sum(one[0] == number for one in more) for number, _ in more}
        each = ", ".join(f"{count} of {modality(number)}" for number, count in counts.items())
        parts.append(f"holds {_counted(len(more), 'target')} that this model lacks ({each})")
    if less:
        each = ", ".join(f"{name(*one)} of {modality(one[0])}" for one in less)
        parts.append(f"has no weights for {_counted(len(less), 'target')} of this model ({each})")
    raise InputError(
        f"The file {path} {' and '.join(parts)}. Load the file into a model of the saved one's "
        f"targets (a preset knows its own), {_REST}."
    )


def _check_integers(path, held, model):
    wanted = sum(keras.backend.standardize_dtype(w.dtype) == "int8" for w in model.weights)
    if held != wanted:
        raise InputError(
            f"The file {path} holds {held} quantized weights and this model {wanted}; load the "
            "file into a model that was quantized in the same way as the saved one, or not at all "
            "if that was not."
        )


def _check_count(path, held, model):
    stored = [one for one in model.weights if one.name not in KERNELS]  # Adapters are merged.
    # A file may also have the states of dropout, but never those of metrics.
    metrics = {id(variable) for variable in model.metrics_variables}
    most = sum(id(variable) not in metrics for variable in model.variables)
    if not len(stored) <= held.arrays <= most:
        numbers = sum(math.prod(one.shape) for one in stored)
        raise InputError(
            f"The file {path} holds {held.arrays:,} arrays with {held.numbers:,} numbers, and this "
            f"model has {len(stored):,} with {numbers:,}: they are another model's. Load the file "
            f"into a model of the saved one's configuration, {_REST}."
        )


def _numbers(names):
    """Return the pairs of modality and channel of the queries of further targets."""
    found = (re.fullmatch(r"target_(\d+)_(\d+)", name) for name in names)
    return {(int(one[1]), int(one[2])) for one in found if one}


def _counted(count, one, several=None):
    return f"{count} {one if count == 1 else several or one + 's'}"
