"""What is done to an ONNX model after its conversion."""

from contextlib import nullcontext

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from keras_espmedsam.export.formats.onnx import ONNXRuntime, _drop_whole_slices


def _sliced(starts, ends):
    """A model that slices three axes by 1."""
    values = {"starts": starts, "ends": ends, "axes": (0, 1, 2), "steps": (1, 1, 1)}
    constants = [numpy_helper.from_array(np.array(v, "int64"), k) for k, v in values.items()]
    node = helper.make_node("Slice", ["x", *values], ["y"])
    ends_of = [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in "xy"]
    return helper.make_model(helper.make_graph([node], "g", ends_of[:1], ends_of[1:], constants))


def _constants(model):
    return {one.name: numpy_helper.to_array(one).tolist() for one in model.graph.initializer}


def test_axes_that_a_slice_leaves_whole_are_taken_out_and_nothing_unread_is_left():
    model = _sliced((0, 2, 0), (2**31 - 1, 5, 2**31 - 1))
    _drop_whole_slices(model)
    constants = _constants(model)
    assert [constants[name] for name in model.graph.node[0].input[1:]] == [[2], [5], [1], [1]]
    assert len(constants) == 4


def test_a_slice_of_all_its_axes_stays():
    model = _sliced((1, 1, 1), (2, 2, 2))
    before = model.SerializeToString()
    _drop_whole_slices(model)
    assert model.SerializeToString() == before


@pytest.mark.parametrize("index", [0, 99])
def test_what_fails_prints_nothing_of_its_own(tmp_path, capfd, index):
    index = numpy_helper.from_array(np.array([index], "int64"), "index")
    node = helper.make_node("Gather", ["x", "index"], ["y"])
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1]) for n in "xy"]
    graph = helper.make_graph([node], "g", ends[:1], ends[1:], [index])
    opset = [helper.make_opsetid("", 17)]
    path = tmp_path / "m.onnx"
    path.write_bytes(
        helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()
    )
    runtime = ONNXRuntime(path)
    fails = numpy_helper.to_array(index) > 0
    with pytest.raises(Exception, match="out of data bounds") if fails else nullcontext():
        assert runtime({"x": np.ones(1, "float32")})["y"] == 1
    assert capfd.readouterr() == ("", "")
