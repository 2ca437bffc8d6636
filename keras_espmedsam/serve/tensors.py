"""Tensors of the Open Inference Protocol, as JSON and as bytes, from and to NumPy arrays."""

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from keras_espmedsam._shown import shown_value
from keras_espmedsam.errors import InputError

DATATYPES: dict[str, np.dtype] = {
    "UINT8": np.dtype("uint8"),
    "UINT16": np.dtype("<u2"),
    "FP32": np.dtype("<f4"),
    "BYTES": np.dtype(object),
}
"""The data types of tensors that are taken and given."""

# As Python's numbers they take ten times the memory.
_MOST_IN_JSON = 4_000_000


@dataclasses.dataclass(frozen=True)
class InferRequest:
    """A request of the Open Inference Protocol.

    Args:
        id: what the client calls the request; it is given back.
        parameters: the parameters of the request.
        inputs: dict of name to array; BYTES are objects, each a str.
        outputs: dict of the name of each wanted output to whether it is wanted as bytes; None for
            all.
        binary: whether outputs are wanted as bytes where nothing else is said.
    """

    id: str | None
    parameters: Mapping[str, Any]
    inputs: Mapping[str, np.ndarray]
    outputs: Mapping[str, bool] | None
    binary: bool


def read_request(body: bytes, json_length: str | None = None) -> InferRequest:
    """Read the body of a request to infer.

    Args:
        body: JSON, with the bytes of tensors after it if `json_length` is given.
        json_length: the header `Inference-Header-Content-Length`.

    Raises:
        InputError: when it is not what the protocol says.

    Example:
        >>> tensor = {"name": "images", "shape": [2], "datatype": "UINT8", "data": [0, 9]}
        >>> read_request(json.dumps({"inputs": [tensor]}).encode()).inputs["images"].tolist()
        [0, 9]

    Source: Open Inference Protocol (KServe v2), REST, with its extension for binary tensor data.
    """
    length = len(body)
    if json_length is not None:
        if not json_length.isdecimal() or int(json_length[:20]) > length:
            raise InputError(
                f"Received Inference-Header-Content-Length: {shown_value(json_length)} for a body "
                f"of {length} bytes; expected the number of bytes of its JSON part."
            )
        length = int(json_length)
    try:
        content = json.loads(body[:length])
    except (ValueError, RecursionError):
        raise InputError(
            "The body is not JSON; expected a request of the Open Inference Protocol, such as "
            '{"inputs": [{"name": "images", "shape": [1, 64, 64, 3], "datatype": "UINT8", "data": '
            "[...]}]}."
        ) from None
    content = _object(content, "the request")
    binary = memoryview(body)[length:]
    inputs = {}
    for one in _list(content.get("inputs"), "inputs"):
        one = _object(one, "an input")
        name = one.get("name")
        if not isinstance(name, str) or name in inputs:
            raise InputError(
                f"Received an input with the name {shown_value(name)}; expected a text, and each "
                "only once."
            )
        inputs[name], binary = _tensor(name, one, binary)
    if len(binary):
        raise InputError(
            f"{len(binary)} bytes are left after the last tensor; check the binary_data_size of "
            "each input."
        )
    parameters = dict(_object(content.get("parameters", {}), "parameters"))
    as_bytes = _flag(parameters.pop("binary_data_output", False), "binary_data_output")
    outputs = None
    if content.get("outputs"):
        outputs = {}
        for one in _list(content["outputs"], "outputs"):
            one = _object(one, "an output")
            wanted = _object(one.get("parameters", {}), "parameters")
            outputs[str(one.get("name"))] = _flag(
                wanted.get("binary_data", as_bytes), "binary_data"
            )
    number = content.get("id")
    if number is not None and not isinstance(number, str):
        raise InputError(f"Received the id {shown_value(number)}; expected a text.")
    return InferRequest(number, parameters, inputs, outputs, as_bytes)


def write_answer(
    content: Mapping[str, Any], outputs: Mapping[str, np.ndarray], request: InferRequest
) -> tuple[bytes, int | None]:
    """Write the answer to a request to infer.

    Args:
        content: what it says besides the outputs.
        outputs: dict of name to array: uint8, float32, or objects, each a str.
        request: the request, which says which outputs it wants, and how.

    Returns:
        The body, and the length of its JSON part if bytes of tensors follow.

    Raises:
        InputError: when the request wants an output that there is not, or a large one as JSON.

    Example:
        >>> request = InferRequest(None, {}, {}, {"masks": True}, False)
        >>> body, length = write_answer({}, {"masks": np.zeros((1, 2), "uint8")}, request)
        >>> body[length:]
        b'\\x00\\x00'
    """
    wanted = request.outputs
    if wanted is None:
        wanted = dict.fromkeys(outputs, request.binary)
    described, parts = [], []
    for name, as_bytes in wanted.items():
        if name not in outputs:
            raise InputError(
                f"Received the output {shown_value(name)}; expected {', '.join(outputs)}."
            )
        array = outputs[name]
        tensor = {"name": name, "datatype": _datatype(array), "shape": list(array.shape)}
        if as_bytes:
            parts.append(_to_bytes(array))
            tensor["parameters"] = {"binary_data_size": len(parts[-1])}
        elif array.size > _MOST_IN_JSON:
            raise InputError(
                f"The output {name} has {array.size:,} values, and as JSON at most "
                f"{_MOST_IN_JSON:,}; ask for it with binary_data, leave it out, or send fewer or "
                "smaller images."
            )
        else:
            tensor["data"] = array.ravel().tolist()
        described.append(tensor)
    if request.id is not None:
        content = {**content, "id": request.id}
    head = json.dumps({**content, "outputs": described}, allow_nan=False).encode()
    return b"".join([head, *parts]), len(head) if parts else None


def _tensor(name, described, binary):
    """Return an input as an array, and the bytes that are left for the next ones."""
    datatype, shape = described.get("datatype"), described.get("shape")
    if not isinstance(datatype, str) or datatype not in DATATYPES:
        raise InputError(
            f"The input {shown_value(name)} has the datatype {shown_value(datatype)}; expected "
            f"{', '.join(DATATYPES)}."
        )
    fits = isinstance(shape, list) and len(shape) <= 8
    if not fits or not all(type(one) is int and 0 < one < 2**31 for one in shape):
        raise InputError(
            f"The input {shown_value(name)} has the shape {shown_value(shape)}; expected a list of "
            "whole numbers above 0."
        )
    parameters = _object(described.get("parameters", {}), "parameters")
    size, count = parameters.get("binary_data_size"), math.prod(shape)
    if size is None:
        return _from_json(name, described.get("data"), datatype, count).reshape(shape), binary
    if type(size) is not int or not 0 <= size <= len(binary) or "data" in described:
        raise InputError(
            f"The input {shown_value(name)} has the binary_data_size {shown_value(size)}; expected "
            f"a number up to {len(binary)}, the bytes that are left, and no data."
        )
    part, rest = binary[:size], binary[size:]
    if datatype == "BYTES":
        values: Any = _texts(name, bytes(part))
    elif size != count * DATATYPES[datatype].itemsize:
        values = ()
    else:
        values = np.frombuffer(part, DATATYPES[datatype])
    _check_count(name, len(values), count)
    return np.asarray(values, DATATYPES[datatype]).reshape(shape), rest


def _from_json(name, data, datatype, count):
    flat: list[Any] = []
    waiting = [iter(_list(data, f"data of the input {shown_value(name)}"))]
    while waiting:  # Lists within lists, in any number of dimensions.
        for one in waiting[-1]:
            if isinstance(one, list):
                waiting.append(iter(one))
                break
            flat.append(one)
        else:
            waiting.pop()
    _check_count(name, len(flat), count)
    if datatype == "BYTES":
        kinds: tuple[type, ...] = (str,)
    else:
        kinds = (int,) if datatype != "FP32" else (int, float)
    top = {"UINT8": 2**8, "UINT16": 2**16}.get(datatype, math.inf)
    if not all(type(one) in kinds for one in flat) or (
        datatype != "BYTES" and not all(_fits(one, datatype, top) for one in flat)
    ):
        raise InputError(
            f"The data of the input {shown_value(name)} does not fit its datatype {datatype}; give "
            "values of that type."
        )
    return np.array(flat, DATATYPES[datatype])


def _fits(value, datatype, top):
    return abs(value) <= 3e38 if datatype == "FP32" else 0 <= value < top


def _texts(name, part):
    """Read texts, each after four bytes with its length."""
    texts = []
    while part:
        length = int.from_bytes(part[:4], "little")
        text, part = part[4 : 4 + length], part[4 + length :]
        if len(text) < length:
            raise InputError(
                f"The bytes of the input {shown_value(name)} are cut; expected four bytes with a "
                "length before each text."
            )
        texts.append(text.decode("utf-8", "replace"))
    return texts


def _to_bytes(array):
    if array.dtype != object:
        return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
    texts = [one.encode() for one in array.ravel()]
    return b"".join(len(one).to_bytes(4, "little") + one for one in texts)


def _datatype(array):
    return next(name for name, dtype in DATATYPES.items() if dtype == array.dtype)


def _check_count(name, found, count):
    if found != count:
        raise InputError(
            f"The data of the input {shown_value(name)} does not have the length that its "
            f"shape says; expected {count} values."
        )


def _object(value: Any, what: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise InputError(f"Received {shown_value(value)} for {what}; expected a JSON object.")
    return value


def _list(value: Any, what: str) -> Sequence[Any]:
    if not isinstance(value, list):
        raise InputError(f"Received {shown_value(value)} for {what}; expected a list.")
    return value


def _flag(value: Any, what: str) -> bool:
    if not isinstance(value, bool):
        raise InputError(f"Received {what}={shown_value(value)}; expected true or false.")
    return value
