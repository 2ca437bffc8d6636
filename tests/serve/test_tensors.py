"""Tensors of the Open Inference Protocol: read, written, and refused in a sentence."""

import json

import numpy as np
import pytest

from keras_espmedsam.errors import InputError
from keras_espmedsam.serve import tensors
from keras_espmedsam.serve.tensors import InferRequest, read_request, write_answer


def tensor(data, shape, datatype="UINT8", **more):
    return {"name": "images", "shape": shape, "datatype": datatype, "data": data, **more}


def read(*inputs, **more):
    return read_request(json.dumps({"inputs": list(inputs), **more}).encode())


def binary(size, shape=(1, 2), datatype="UINT8", **more):
    """A tensor whose bytes follow the JSON part."""
    described = {"name": "images", "shape": list(shape), "datatype": datatype}
    return {**described, "parameters": {"binary_data_size": size}, **more}


@pytest.mark.parametrize("data", [[0, 1, 2, 255], [[0, 1], [2, 255]], [[[0], [1]], [[2], [255]]]])
def test_numbers_may_be_nested(data):
    array = read(tensor(data, [2, 2])).inputs["images"]
    assert array.dtype == np.uint8
    assert array.tolist() == [[0, 1], [2, 255]]


def test_data_types():
    assert read(tensor([0.5, 1], [2], "FP32")).inputs["images"].dtype == np.float32
    assert read(tensor([65535], [1], "UINT16")).inputs["images"].tolist() == [65535]
    assert read(tensor(["xray", "é"], [2], "BYTES")).inputs["images"].tolist() == ["xray", "é"]


def test_bytes_after_the_json_part():
    names = {**binary(11, (1,), "BYTES"), "name": "modalities"}
    head = json.dumps({"inputs": [binary(4, (1,), "FP32"), names]}).encode()
    body = head + np.float32(0.25).tobytes() + b"\x07\x00\x00\x00eyeball"
    found = read_request(body, str(len(head))).inputs
    assert found["images"].tolist() == [0.25]
    assert found["modalities"].tolist() == ["eyeball"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "the request"),
        (b"{}", "inputs"),
        (b'{"inputs": [7]}', "an input"),
        (b'{"inputs": [{"name": 7}]}', "the name 7"),
        (b'{"inputs": [], "parameters": 3}', "parameters"),
        (b'{"inputs": [], "id": 3}', "the id 3"),
        (b'{"inputs": [], "outputs": [3]}', "an output"),
        (b'{"inputs": [], "parameters": {"binary_data_output": "yes"}}', "true or false"),
    ],
)
def test_what_is_no_request(body, words):
    with pytest.raises(InputError, match=words):
        read_request(body)


@pytest.mark.parametrize(
    "wrong",
    [
        tensor([0], [1], "INT8"),
        tensor([0], [1], ["UINT8"]),
        tensor([0], "1"),
        tensor([0], [0]),
        tensor([0], [True]),
        tensor([0], [1.0]),
        tensor([0], [1] * 9),
        tensor([0], [2**40]),
        tensor([0, 0], [1]),
        tensor([256], [1]),
        tensor([-1], [1]),
        tensor([0.5], [1]),
        tensor([True], [1]),
        tensor(["0"], [1]),
        tensor([1e39], [1], "FP32"),
        tensor([float("nan")], [1], "FP32"),
        tensor([float("inf")], [1], "FP32"),
        tensor([10**400], [1], "FP32"),
        tensor([3], [1], "BYTES"),
        tensor({}, [1]),
        tensor(None, [1]),
        tensor([0], [1], parameters=[]),
    ],
)
def test_tensors_that_do_not_fit_are_refused(wrong):
    with pytest.raises(InputError):
        read(wrong)


def test_a_name_may_not_come_twice():
    with pytest.raises(InputError, match="only once"):
        read(tensor([0], [1]), tensor([0], [1]))


@pytest.mark.parametrize(
    ("described", "rest"),
    [
        (binary(2), b"\0"),
        (binary(-1), b"\0\0"),
        (binary(True), b"\0\0"),
        (binary(1), b"\0"),
        (binary(2), b"\0\0\0"),
        (binary(2, data=[0, 0]), b"\0\0"),
        (binary(5, (1,), "BYTES"), b"\xff\xff\xff\xffx"),
        (binary(2, (1,), "BYTES"), b"\1\0"),
    ],
)
def test_bytes_that_do_not_fit_are_refused(described, rest):
    head = json.dumps({"inputs": [described]}).encode()
    with pytest.raises(InputError):
        read_request(head + rest, str(len(head)))


@pytest.mark.parametrize("length", ["-1", "x", "1000", "9" * 5000, "²"])
def test_a_wrong_length_of_the_json_part_is_refused(length):
    with pytest.raises(InputError, match="Inference-Header-Content-Length"):
        read_request(b"{}", length)


def test_outputs_as_asked():
    outputs = {"masks": np.array([[1]], "uint8"), "targets": np.array(["é"], object)}
    asked = read(id="7", outputs=[{"name": "targets", "parameters": {"binary_data": True}}])
    body, length = write_answer({"model_name": "eye"}, outputs, asked)
    described = {"name": "targets", "datatype": "BYTES", "shape": [1]}
    described["parameters"] = {"binary_data_size": 6}
    assert json.loads(body[:length]) == {"model_name": "eye", "id": "7", "outputs": [described]}
    assert body[length:] == b"\2\0\0\0\xc3\xa9"
    body, length = write_answer({}, outputs, InferRequest(None, {}, {}, None, False))
    assert length is None
    assert [one["data"] for one in json.loads(body)["outputs"]] == [[1], ["é"]]
    with pytest.raises(InputError, match="expected masks, targets"):
        write_answer({}, outputs, read(outputs=[{"name": "mask"}]))


def test_a_large_output_is_given_as_bytes_only(monkeypatch):
    monkeypatch.setattr(tensors, "_MOST_IN_JSON", 3)
    outputs = {"masks": np.zeros((1, 4), "uint8")}
    with pytest.raises(InputError, match="as JSON at most 3; ask for it with binary_data"):
        write_answer({}, outputs, read())
    assert write_answer({}, outputs, read(parameters={"binary_data_output": True}))[1]


def test_the_parameter_for_bytes_is_for_all_outputs():
    asked = read(parameters={"binary_data_output": True, "threshold": 0.3})
    assert asked.parameters == {"threshold": 0.3}
    body, length = write_answer({}, {"masks": np.array([[1, 0]], "uint8")}, asked)
    assert body[length:] == b"\1\0"
