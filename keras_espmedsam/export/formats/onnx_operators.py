"""Check an ONNX file before a runtime loads it: only standard mathematics is allowed."""

from pathlib import Path

from keras_espmedsam._shown import shown
from keras_espmedsam._startup import require
from keras_espmedsam.errors import InputError
from keras_espmedsam.export.formats.refusal import refuse_unknown

_STANDARD = ("", "ai.onnx")
_EXTERNAL = 1  # TensorProto.DataLocation: the numbers are in another file.


def check_onnx(path):
    """Raise for operators outside ONNX' own set, those that hold graphs, and outside files.

    Loop, Scan and If hold graphs. tf2onnx makes none for these models, and a Loop may never end.

    Args:
        path: the file.

    Raises:
        InputError: for these; a file that is not ONNX raises the reader's own error.
    """
    onnx = require("onnx", "Looking at an ONNX file before it is run", "export")
    model = onnx.load(str(path), load_external_data=False)
    if not model.graph.node:
        raise InputError(f"{shown(path)} is not an ONNX file, or is empty.")
    foreign = [f"{one.domain or 'function'}.{one.name}" for one in model.functions]
    tensors = list(model.graph.initializer)
    for sparse in model.graph.sparse_initializer:
        tensors += [sparse.values, sparse.indices]
    for node in model.graph.node:
        if node.domain not in _STANDARD:
            foreign.append(f"{node.domain}.{node.op_type}")
        for attribute in node.attribute:
            if attribute.HasField("g") or attribute.graphs:
                foreign.append(node.op_type)
            tensors += [attribute.t, *attribute.tensors]
            for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                tensors += [sparse.values, sparse.indices]
    refuse_unknown(path, "ONNX", foreign)
    folder = Path(path).parent.resolve()
    for tensor in tensors:
        if tensor.data_location == _EXTERNAL:
            _check_place(path, folder, tensor)


def _check_place(path, folder, tensor):
    places = [one.value for one in tensor.external_data if one.key == "location"]
    for place in places or [""]:
        try:
            inside = bool(place) and (folder / place).resolve().is_relative_to(folder)
        except (OSError, ValueError, RuntimeError):  # Not a path, or a loop of links.
            inside = False
        if not inside:
            raise InputError(
                f"The ONNX artefact {shown(path)} takes the numbers of {shown(tensor.name)} from "
                f"the file {shown(place)}, which does not lie in its folder. If you trust who made "
                "it, run it with --trust on the command line, or trust=True in Python."
            )
