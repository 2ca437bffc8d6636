"""What an ONNX file of a stranger may ask for."""

import time

import numpy as np
import pytest
from onnx import TensorProto, helper

from keras_espmedsam.errors import InputError
from keras_espmedsam.export import ExportedSegmenter, bounded_runtime
from keras_espmedsam.export.formats.onnx_operators import check_onnx

IMAGE = np.zeros((32, 32, 3), "uint8")


def cast(output="probabilities"):
    return helper.make_node("Cast", ["images"], [output], to=TensorProto.FLOAT)


def endless_loop():
    """Nodes of a loop that goes on while a constant is true."""
    value = helper.make_tensor("t", TensorProto.BOOL, [], [True])
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["going"], ["goes_on"]),
            helper.make_node("Identity", ["state"], ["next"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("going", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("goes_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, None),
        ],
    )
    return [
        helper.make_node("Constant", [], ["true"], value=value),
        cast("f"),
        helper.make_node("ReduceMean", ["f"], ["m"], axes=[3], keepdims=0),
        helper.make_node("Loop", ["", "true", "m"], ["probabilities"], body=body),
    ]


def test_a_custom_operator_is_refused(stranger):
    node = helper.make_node("Write\x1b[2J", ["images"], ["probabilities"], domain="mine")
    with pytest.raises(InputError, match=r"operators that no model.*: mine\.Write.*--trust"):
        ExportedSegmenter(stranger(nodes=[node]))
    with pytest.raises(InputError, match="cannot be loaded"):  # The runtime does not have it.
        ExportedSegmenter(stranger(nodes=[node]), trust=True)


def test_a_function_within_the_file_is_refused(stranger):
    model = helper.make_model(
        helper.make_graph([cast()], "g", [], []),
        functions=[
            helper.make_function("mine", "F", ["x"], ["y"], [], [helper.make_opsetid("", 17)])
        ],
    )
    with pytest.raises(InputError, match=r"no model of this package needs: mine\.F"):
        check_onnx(stranger(model=model))


def test_a_loop_is_refused_and_a_trusted_one_is_stopped(stranger, monkeypatch):
    path = stranger(nodes=endless_loop())
    with pytest.raises(InputError, match="no model of this package needs: Loop"):
        ExportedSegmenter(path)
    monkeypatch.setenv(bounded_runtime.VARIABLE, "1")
    monkeypatch.setattr("keras_espmedsam.export.formats.onnx.ONNX.check", lambda *given: None)
    segmenter = ExportedSegmenter(path)
    start = time.monotonic()
    with pytest.raises(InputError, match="not run within 1 seconds"):
        segmenter.segment(IMAGE)
    assert time.monotonic() - start < 30


@pytest.mark.parametrize("place", ["../outside", "/etc/hostname", "", "link", "a/../../b"])
def test_numbers_in_a_file_outside_the_folder_are_refused(stranger, tmp_path, place):
    (tmp_path / "link").symlink_to(tmp_path.parent / "elsewhere")
    z = helper.make_tensor("z", TensorProto.FLOAT, [], [1.0])
    z.ClearField("float_data")
    z.data_location = TensorProto.EXTERNAL
    z.external_data.add(key="location", value=place)
    model = helper.make_model(helper.make_graph([cast()], "g", [], [], initializer=[z]))
    with pytest.raises(InputError, match="does not lie in its folder"):
        check_onnx(stranger(model=model))
    inside = helper.make_node("Constant", [], ["c"], value=z)
    with pytest.raises(InputError, match="does not lie in its folder"):
        check_onnx(stranger(model=helper.make_model(helper.make_graph([inside], "g", [], []))))


def test_numbers_in_a_file_beside_it_are_taken(stranger, tmp_path):
    np.array(1 / 255, "float32").tofile(tmp_path / "weights.bin")
    z = helper.make_tensor("z", TensorProto.FLOAT, [], [1.0])
    z.ClearField("float_data")
    z.data_location = TensorProto.EXTERNAL
    z.external_data.add(key="location", value="weights.bin")
    check_onnx(
        stranger(model=helper.make_model(helper.make_graph([cast()], "g", [], [], initializer=[z])))
    )


@pytest.mark.parametrize("content", [b"", b"hello" * 50, b"\x00", b"\xff" * 1000])
def test_what_is_none_is_told(stranger, content):
    for trust in (False, True):
        with pytest.raises(InputError):
            ExportedSegmenter(stranger(model=content), trust=trust)


def test_a_cut_one_is_told(stranger, tmp_path):
    content = stranger().read_bytes()
    for end in range(1, len(content), 23):
        with pytest.raises(InputError):
            ExportedSegmenter(stranger(model=content[:end])).segment(IMAGE)
