"""A stranger's artefact gives probabilities, or a sentence."""

import hashlib
import json
import subprocess
import sys

import keras
import numpy as np
import pytest

from keras_espmedsam.errors import InputError
from keras_espmedsam.export import ExportedSegmenter, comparison
from keras_espmedsam.export.description import describe
from keras_espmedsam.export.exported_segmenter import ExportedSegmenter as Again
from keras_espmedsam.export.request import make_request, normalization
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


def test_its_calibration_and_guarantees_are_used(stranger):
    recall = {"level": 0.9, "threshold": 0.3, "num_images": 20, "datasets": ["clinic"]}
    segmenter = ExportedSegmenter(
        stranger(
            probability_calibration={"fundus": {"mask": {"temperature": 2.0}}},
            guarantees={"fundus": {"mask": {"recall": recall}}},
        )
    )
    found = segmenter.segment(IMAGE)
    np.testing.assert_allclose(found["probabilities"], 1 / (1 + (0.6 / 0.4) ** 0.5), atol=1e-6)
    assert not found["masks"].any()
    assert segmenter.segment(IMAGE, guarantee="recall")["masks"].all()
    with pytest.raises(InputError, match=r"contradicts itself: Received temperature=0 in the pro"):
        ExportedSegmenter(
            stranger(probability_calibration={"fundus": {"mask": {"temperature": 0}}})
        )
    with pytest.raises(InputError, match=r"contradicts itself: .* lack 'threshold'"):
        ExportedSegmenter(stranger(guarantees={"fundus": {"mask": {"recall": {"level": 0.9}}}}))


@pytest.mark.parametrize("factor", [float("nan"), float("inf"), -float("inf")])
def test_what_is_no_number_makes_no_mask(stranger, factor):
    segmenter = ExportedSegmenter(stranger(factor))
    with pytest.raises(InputError, match=r"NaN or infinite.* so no mask can be made"):
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


class KerasRuntime:
    """What an artefact of a segmenter gives, computed by Keras."""

    def __init__(self, task, request):
        self.task, self.request = task, request

    def __call__(self, inputs):
        images = inputs["images"]
        if self.request.flavor == "images":
            mean, divisor = normalization(self.task)
            images = (images.astype("float32") - mean) / divisor
        indices = inputs.get("modalities", np.zeros(len(images), "int32"))
        outputs = comparison._predicted(self.task, self.task.model_inputs(images, indices))
        return comparison.expected_outputs(self.task, self.request, outputs, indices)


def _exported(task, tmp_path, flavor):
    request = make_request(task, "onnx", tmp_path / "m.onnx", flavor=flavor, batch_size=1)
    description = json.loads(json.dumps(describe(task, request)))
    return ExportedSegmenter.of(description, KerasRuntime(task, request))


@pytest.mark.slow_on("jax")
@pytest.mark.parametrize("flavor", ["images", "logits"])
def test_targets_and_objects_are_those_of_the_model(with_targets, tmp_path, flavor):
    exported = _exported(with_targets, tmp_path, flavor)
    assert exported.target_set == with_targets.target_set
    assert exported.postprocessing == with_targets.postprocessing
    # Of the model's size, so that both see the same eight bits.
    images = [comparison.made_image(np.random.default_rng(i), (64, 64)) for i in range(3)]
    names = ["eye", "skin", "slide"]
    found, expected = (one.segment(images, names) for one in (exported, with_targets))
    assert found["targets"] == expected["targets"] == [
        ("disc", "artery", "cup", "vein"), ("mask",), ("nuclei",)]  # fmt: skip
    for i in range(3):
        assert found["masks"][i].shape == ((64, 64, 4), (64, 64), (64, 64))[i]
        np.testing.assert_allclose(
            found["probabilities"][i], expected["probabilities"][i], atol=1e-4
        )
        np.testing.assert_array_equal(found["masks"][i], expected["masks"][i])
    objects = [one["instances"][2]["nuclei"] for one in (found, expected)]
    np.testing.assert_array_equal(*objects)
    raw = exported.segment(images, names, postprocess=False)["masks"][2]
    np.testing.assert_array_equal(
        raw, with_targets.segment(images, names, postprocess=False)["masks"][2]
    )
    one = exported.segment(images[0], "eye", targets="cup")
    np.testing.assert_array_equal(one["masks"], expected["masks"][0][..., 2])


@pytest.mark.slow_on("jax")
def test_only_the_channels_of_an_images_modality_have_to_be_numbers(with_targets, tmp_path):
    exported = _exported(with_targets, tmp_path, "logits")
    keras_runtime = exported.runtime

    def giving(value):
        def runtime(inputs):
            outputs = keras_runtime(inputs)
            closed = np.isneginf(outputs["masks"])
            assert closed.any() and not closed[..., 0].any()
            return {"masks": np.where(closed, value, outputs["masks"])}

        return runtime

    images = np.zeros((1, 64, 64, 3), "float32")
    index = np.array([2], "int32")
    for value in (-np.inf, np.nan, -65504, 5):  # Whatever a runtime makes of minus infinity.
        exported.runtime = giving(value)
        found = exported.predict_probabilities(images, index)
        assert found[..., :2].min() > 0 and not found[..., 2:].any()
    exported.runtime = lambda inputs: {"masks": np.full((1, 64, 64, 4), -np.inf, "float32")}
    with pytest.raises(InputError, match="NaN or infinite"):
        exported.predict_probabilities(images, index)


@pytest.mark.slow_on("jax")
@pytest.mark.parametrize("flavor", ["images", "logits"])
def test_a_description_of_other_channels_is_another_artefacts(
    segmenter, with_targets, tmp_path, flavor
):
    one, several = (_exported(task, tmp_path, flavor) for task in (segmenter, with_targets))
    one.runtime, several.runtime = several.runtime, one.runtime
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), "uint8")
    for exported, count in ((one, "1 channel,"), (several, "4 channels,")):
        with pytest.raises(InputError, match=f"has targets of {count} so it is that of another"):
            exported.segment(image, exported.modalities[0])


def test_inputs_of_another_name_or_size_are_told(stranger):
    for changes in (
        {"inputs": {"images": {"shape": [1, 64, 64, 3]}}},
        {"modalities": ["eye", "skin"]},
    ):
        segmenter = ExportedSegmenter(stranger(**changes))
        with pytest.raises(InputError, match=r"The artefact .*eye\.onnx cannot be run \("):
            segmenter.segment(IMAGE, segmenter.modalities[0])


def test_a_missing_runtime_is_named(stranger, monkeypatch):
    path = stranger()
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(InputError, match=r"onnxruntime, which is not installed.*\[export\]"):
        ExportedSegmenter(path)


def test_the_command_ends_in_a_sentence_and_runs_what_is_trusted(stranger, tmp_path):
    from onnx import TensorProto, helper
    from PIL import Image
    from typer.testing import CliRunner

    from keras_espmedsam.cli.app import app

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


# In a program of its own, in which nothing has imported a runtime.
USE = """
import sys
import numpy
from keras_espmedsam.export import ExportedSegmenter

for path in sys.argv[1:]:
    found = ExportedSegmenter(path).segment(numpy.full((32, 32, 3), 102, "uint8"))
    assert abs(found["probabilities"].mean() - 0.4) < 1e-3
"""


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="it needs no backend")
def test_runtimes_leave_nothing_in_the_home_folder(stranger, tmp_path, monkeypatch):
    openvino = pytest.importorskip("openvino")
    onnx = stranger()
    path = onnx.with_suffix(".xml")
    openvino.save_model(openvino.convert_model(onnx), path)
    files = (path, path.with_suffix(".bin"))
    about = json.loads((tmp_path / "eye.onnx.json").read_text())
    sums = {one.name: hashlib.sha256(one.read_bytes()).hexdigest() for one in files}
    about |= {"format": "openvino", "sha256": sums}
    (tmp_path / "eye.xml.json").write_text(json.dumps(about))
    # Or it looks for all fonts of the machine.
    monkeypatch.setenv("MPLCONFIGDIR", pytest.importorskip("matplotlib").get_cachedir())
    for name in ("HOME", "USERPROFILE", "TMPDIR", "TEMP", "TMP"):
        folder = tmp_path / name
        folder.mkdir()
        monkeypatch.setenv(name, str(folder))
    # Where one of these is set, some keep silent by themselves.
    for name in ("ORT_DISABLE_TELEMETRY", "CI", "TF_BUILD", "JENKINS_URL", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    done = subprocess.run(
        [sys.executable, "-c", USE, path, onnx], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    made = {one.name for folder in ("HOME", "TMPDIR") for one in (tmp_path / folder).rglob("*")}
    # Keras keeps its settings there.
    assert made <= {".keras", "keras.json"}
