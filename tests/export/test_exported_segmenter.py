"""A stranger's artefact gives probabilities, or a sentence."""

import numpy as np
import pytest

from keras_espmedsam.errors import InputError
from keras_espmedsam.export import ExportedSegmenter
from keras_espmedsam.export.exported_segmenter import ExportedSegmenter as Again
from keras_espmedsam.inference.load_models import load_segmenter

IMAGE = np.full((32, 32, 3), 102, "uint8")


def test_a_sound_one_gives_its_numbers(stranger):
    path = stranger()
    assert Again is ExportedSegmenter
    for segmenter in (
        ExportedSegmenter(path),
        ExportedSegmenter(path, trust=True),
        load_segmenter(str(path)),
        load_segmenter(path, trust=True),
    ):
        found = segmenter.segment([IMAGE, IMAGE * 2])
        np.testing.assert_allclose(found["probabilities"][0], 0.4, atol=1e-6)
        assert [one.all() for one in found["masks"]] == [False, True]


@pytest.mark.parametrize("factor", [float("nan"), float("inf"), -float("inf")])
def test_what_is_no_number_makes_no_mask(stranger, factor):
    segmenter = ExportedSegmenter(stranger(factor))
    with pytest.raises(InputError, match=r"NaN or infinite.* of which no mask can be made"):
        segmenter.segment(IMAGE)


def test_what_is_no_probability_makes_no_mask(stranger):
    with pytest.raises(InputError, match=r"gives probabilities from 102 to 102; expected 0 to 1"):
        ExportedSegmenter(stranger(1.0)).segment(IMAGE)


def test_an_output_of_another_name_shape_or_type_is_named(stranger):
    from onnx import TensorProto, helper

    cast = helper.make_node("Cast", ["images"], ["probabilities"], to=TensorProto.FLOAT)
    with pytest.raises(InputError, match=r"of shape \(1, 32, 32, 3\).*expected \(1, 32, 32\)"):
        ExportedSegmenter(stranger(nodes=[cast])).segment(IMAGE)
    with pytest.raises(InputError, match=r"gives \['probabilities'\]; expected masks"):
        path = stranger(flavor="logits", inputs={"images": {"shape": [1, 32, 32, 3]}}, nodes=[cast])
        runtime = ExportedSegmenter(path)
        runtime.runtime = lambda inputs: {"probabilities": np.zeros((1, 32, 32), "float32")}
        runtime.segment(IMAGE)


def test_inputs_of_another_name_or_size_are_told(stranger):
    for changes in (
        {"inputs": {"images": {"shape": [1, 64, 64, 3]}}},
        {"modalities": ["eye", "skin"]},
    ):
        segmenter = ExportedSegmenter(stranger(**changes))
        with pytest.raises(InputError, match=r"The artefact .*eye\.onnx cannot be run \("):
            segmenter.segment(IMAGE, segmenter.modalities[0])


def test_a_missing_runtime_is_named(stranger, monkeypatch):
    import sys

    path = stranger()
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(InputError, match=r"onnxruntime, which is not installed.*\[export\]"):
        ExportedSegmenter(path)


def test_the_command_ends_in_a_sentence_and_runs_what_is_trusted(stranger, tmp_path):
    from onnx import TensorProto, helper
    from PIL import Image
    from typer.testing import CliRunner

    from keras_espmedsam.cli.main import app

    Image.fromarray(IMAGE).save(tmp_path / "image.png")

    def segment(path, *more):
        given = (tmp_path / "image.png", "--preset", path, "--modality", "fundus", "--overwrite")
        given = (*given, "--output", tmp_path / "masks", *more)
        return CliRunner().invoke(app, ["segment", *map(str, given)])

    assert segment(stranger()).exit_code == 0
    done = segment(stranger(float("nan")))
    assert done.exit_code != 0 and "NaN or infinite" in done.output
    # An operator of one graph or another, which is sound and still none of ours.
    body = helper.make_graph(
        [helper.make_node("Identity", ["m"], ["chosen"])],
        "body",
        [],
        [helper.make_tensor_value_info("chosen", TensorProto.FLOAT, None)],
    )
    nodes = [
        helper.make_node("Cast", ["images"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["f"], ["mean"], axes=[3], keepdims=0),
        helper.make_node("Mul", ["mean", "z"], ["m"]),
        helper.make_node(
            *("Constant", [], ["yes"]),
            value=helper.make_tensor("t", TensorProto.BOOL, [], [True]),
        ),
        helper.make_node("If", ["yes"], ["probabilities"], then_branch=body, else_branch=body),
    ]
    path = stranger(nodes=nodes)
    done = segment(path)
    assert done.exit_code == 2 and "no model of this package needs: If" in done.output
    assert segment(path, "--trust").exit_code == 0
