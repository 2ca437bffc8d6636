"""What a TFLite file of a stranger may ask for; its bytes are made by LiteRT's own schema."""

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from keras_espmedsam.errors import InputError
from keras_espmedsam.export.formats import get_format
from keras_espmedsam.export.formats.tflite import check_tflite

BUILTIN = schema.BuiltinOperator


def tensor(shape, buffer=0):
    made = schema.TensorT()
    made.shape, made.type, made.buffer, made.name = shape, schema.TensorType.FLOAT32, buffer, b"t"
    return made


def file_of(path, operator=BUILTIN.RELU, shape=(1, 4), custom=None, inputs=(0,), buffer=0, code=0):
    code_of, step, graph, model = (
        schema.OperatorCodeT(), schema.OperatorT(), schema.SubGraphT(), schema.ModelT(),
    )  # fmt: skip
    code_of.builtinCode, code_of.deprecatedBuiltinCode = operator, min(operator, 127)
    code_of.version = 1
    if custom:
        code_of.customCode = custom
    step.opcodeIndex, step.inputs, step.outputs = code, list(inputs), [1]
    graph.tensors = [tensor(list(shape), buffer), tensor(list(shape), buffer)]
    graph.inputs, graph.outputs, graph.operators = [0], [1], [step]
    empty, full = schema.BufferT(), schema.BufferT()
    full.data = np.arange(64, dtype="uint8")
    model.version, model.operatorCodes = 3, [code_of]
    model.subgraphs, model.buffers = [graph], [empty, full]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    path.write_bytes(bytes(builder.Output()))
    return path


def test_a_plain_one_is_let_through(tmp_path):
    path = file_of(tmp_path / "m.tflite")
    get_format("tflite").check(path)
    check_tflite(file_of(tmp_path / "m.tflite", inputs=(0, -1)))


@pytest.mark.parametrize(
    "operator, custom, named",
    [
        (BUILTIN.CUSTOM, "FlexWriteFile", "custom FlexWriteFile"),
        (BUILTIN.WHILE, None, "WHILE"),
        (BUILTIN.IF, None, "IF"),
        (BUILTIN.CALL_ONCE, None, "CALL_ONCE"),
        (BUILTIN.VAR_HANDLE, None, "VAR_HANDLE"),
        (BUILTIN.STABLEHLO_WHILE, None, "STABLEHLO_WHILE"),
    ],
)
def test_what_is_no_mathematics_is_refused(tmp_path, operator, custom, named):
    path = file_of(tmp_path / "m.tflite", operator, custom=custom)
    with pytest.raises(InputError, match=rf"needs: {named}\..*--trust"):
        check_tflite(path)


@pytest.mark.parametrize("side", [2**31 - 1, 2**20])
def test_tensors_without_end_are_refused(tmp_path, side):
    with pytest.raises(InputError, match="more than any model"):
        check_tflite(file_of(tmp_path / "m.tflite", shape=(side, side)))


@pytest.mark.parametrize(
    "wrong", [{"inputs": (7,)}, {"inputs": (-2,)}, {"buffer": 9}, {"code": 3}, {"shape": (-4, 4)}]
)
def test_what_points_outside_is_refused(tmp_path, wrong):
    with pytest.raises(InputError, match="is damaged"):
        check_tflite(file_of(tmp_path / "m.tflite", **wrong))


def test_cut_and_foreign_ones_raise_and_crash_nothing(tmp_path):
    path = file_of(tmp_path / "m.tflite")
    content = path.read_bytes()
    for end in range(0, len(content) - 1, 7):
        path.write_bytes(content[:end])
        try:
            check_tflite(path)
        except Exception:  # Which a BoundedRuntime tells in a sentence.
            continue
    for other in (b"", b"hello" * 50):
        path.write_bytes(other)
        with pytest.raises(InputError, match="is not a TFLite file"):
            check_tflite(path)
