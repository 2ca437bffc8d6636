"""OpenVINO computes in what it is told, and it is always told."""

import json
import runpy
import sys
from pathlib import Path

import numpy as np
import openvino
import pytest
from openvino import opset13 as ops

from keras_espmedsam.errors import InputError
from keras_espmedsam.export import ExportedSegmenter
from keras_espmedsam.export.formats import openvino as format_module
from keras_espmedsam.export.formats.openvino import OpenVINORuntime
from keras_espmedsam.inference.load_models import load_segmenter

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "exported" / "run_openvino.py"
HAS_UNITS = "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
with_units = pytest.mark.skipif(not HAS_UNITS, reason="this processor has no units for bfloat16")


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """An artefact whose probabilities are the mean of the channels by a matrix product."""
    path = tmp_path_factory.mktemp("openvino") / "m.xml"
    images = ops.parameter([-1, 32, 32, 3], np.uint8, name="images")
    images.output(0).set_names({"images"})
    product = ops.matmul(
        ops.convert(images, "f32"),
        ops.constant(np.full((3, 8), 1 / 3 / 255, "float32")),
        False,
        False,
    )
    values = ops.reduce_mean(product, ops.constant(np.array([3], "int64")))
    masks = ops.convert(ops.greater_equal(values, ops.constant(np.float32(0.5))), "u8")
    for one, name in ((masks, "masks"), (values, "probabilities")):
        one.output(0).set_names({name})
    openvino.save_model(
        openvino.Model([ops.result(masks), ops.result(values)], [images], "m"),
        str(path),
        compress_to_fp16=False,
    )
    about = {
        "task": "segmentation",
        "format": "openvino",
        "flavor": "images",
        "modalities": ["eye"],
        "inputs": {"images": {"shape": [None, 32, 32, 3]}},
        "resize_mode": "stretch",
        "size_multiple": 32,
        "normalization": {
            "mean": [123.675, 116.28, 103.53],
            "divisor": [58.395, 57.12, 57.375],
        },
    }
    path.with_name("m.xml.json").write_text(json.dumps(about))
    return path


def _hint(runtime):
    return runtime.model.get_property("INFERENCE_PRECISION_HINT").get_type_name()


def test_it_computes_in_float32_unless_asked(path):
    assert _hint(OpenVINORuntime(path)) == "f32"
    for segmenter in (ExportedSegmenter(path), load_segmenter(path), load_segmenter(path, None)):
        assert (_hint(segmenter.runtime), segmenter.precision) == ("f32", "float32")
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), "uint8")
    found = OpenVINORuntime(path)({"images": images})["probabilities"]
    np.testing.assert_allclose(found, images.mean(-1) / 255, atol=1e-6)


@with_units
def test_it_computes_in_bfloat16_when_asked(path):
    for segmenter in (ExportedSegmenter(path, "bfloat16"), load_segmenter(path, "bfloat16")):
        assert (_hint(segmenter.runtime), segmenter.precision) == ("bf16", "bfloat16")
    image = np.linspace(100, 250, 32).astype("uint8")[:, None, None].repeat(32, 1).repeat(3, 2)
    found = load_segmenter(path, "bfloat16").segment(image)["probabilities"]
    assert found.dtype == np.float32
    # Eight bits of precision.
    np.testing.assert_allclose(found, image[..., 0] / 255, rtol=2**-7)


def test_bfloat16_is_refused_where_there_are_no_units_for_it(path, monkeypatch):
    monkeypatch.setattr(format_module, "_capabilities", lambda core: ["FP32", "INT8"])
    with pytest.raises(InputError, match=r"computes nothing in bfloat16 .* leave the precision"):
        ExportedSegmenter(path, "bfloat16")
    assert ExportedSegmenter(path).precision == "float32"


@pytest.mark.parametrize(
    ("arguments", "hint"), [((), "f32"), (("eye", "f32"), "f32"), (("eye", "bf16"), "bf16")]
)
def test_the_example_says_what_it_computes_in(path, tmp_path, monkeypatch, arguments, hint):
    compiled = openvino.compile_model
    hints = []

    def compile_model(model, device, config):
        hints.append(config["INFERENCE_PRECISION_HINT"])
        return compiled(model, device, config)

    monkeypatch.setattr(openvino, "compile_model", compile_model)
    np.save(tmp_path / "image.npy", np.full((32, 32, 3), 200, "uint8"))
    given = [path, tmp_path / "image.npy", tmp_path / "mask.npy", *arguments]
    monkeypatch.setattr(sys, "argv", [str(EXAMPLE), *map(str, given)])
    monkeypatch.setitem(sys.modules, "openvino_telemetry", sys)  # As if it were installed.
    runpy.run_path(str(EXAMPLE), run_name="__main__")
    assert sys.modules["openvino_telemetry"] is None
    assert hints == [hint] and np.load(tmp_path / "mask.npy").all()


def _loop():
    """A loop over a body, as a Result of its own."""
    state = ops.parameter([1], np.float32)
    body = openvino.Model(
        [ops.result(ops.constant(np.array([True]))), ops.result(ops.relu(state))], [state], "body"
    )
    images = ops.parameter([1], np.float32, name="images")
    found = ops.loop(ops.constant(np.int32(-1)), ops.constant(np.array([True])))
    found.set_function(body)
    found.set_special_body_ports([-1, 0])
    found.set_merged_input(state, images.output(0), body.results[1].output(0))
    values = found.get_iter_value(body.results[1].output(0), -1)
    return openvino.Model([ops.result(values)], [images], "m")


def test_a_loop_is_refused_and_mathematics_is_not(path, tmp_path):
    chosen = format_module.OpenVINO("openvino")
    chosen.check(path)
    openvino.save_model(_loop(), str(tmp_path / "m.xml"))
    with pytest.raises(InputError, match=r"OpenVINO artefact .*needs: Loop\..*--trust"):
        chosen.check(tmp_path / "m.xml")


def test_an_operator_of_an_extension_is_told(path, tmp_path):
    changed = path.read_text().replace('type="MatMul" version="opset1"', 'type="Mine" version="x"')
    assert changed != path.read_text()
    for name, text in (("m.xml", changed), ("m.xml.json", None), ("m.bin", None)):
        content = text.encode() if text else path.with_name(name).read_bytes()
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match="cannot be loaded"):
        ExportedSegmenter(tmp_path / "m.xml")


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", "not an IR"),
        (b"<net", "not an IR"),
        (b"hello" * 50, "not an IR"),
        (b'<?xml version="1.0"?><net/>', "not an IR"),
        # An ONNX file, of which OpenVINO would read what lies beside it.
        (b'\x08\x08:\x12<net version="11">', "not an IR"),
        (b'<net name="a" version="99"></net>', "not an IR"),
        (b'\xef\xbb\xbf <net name="a" version="11"><layers>', "cannot be loaded"),
    ],
)
def test_what_is_none_is_told_and_nothing_else(path, tmp_path, capfd, content, match):
    for name in ("m.xml.json", "m.bin"):
        (tmp_path / name).write_bytes(path.with_name(name).read_bytes())
    (tmp_path / "m.xml").write_bytes(content)
    with pytest.raises(InputError, match=match):
        ExportedSegmenter(tmp_path / "m.xml")
    assert capfd.readouterr() == ("", "")
