"""A package of bioimage.io: its files fit together; their own library reads it where installed."""

import json
import zipfile

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from keras_espmedsam.errors import InputError
from keras_espmedsam.export import export_bioimageio
from keras_espmedsam.export.bioimageio_description import OPSET
from keras_espmedsam.export.description import describe
from keras_espmedsam.export.formats import get_format
from keras_espmedsam.export.request import make_request


@pytest.fixture
def from_brightness(monkeypatch):
    """Puts a model of the red channel in the place of the network that `export_model` writes."""

    def export_model(task, format, path, size, modality, **options):
        task = task if modality is None else task.specialize(modality)
        request = make_request(task, format, path, size)
        about = describe(task, request, options["preset"], options["licence"])
        counts = {
            name: (about["outputs"][name]["shape"] + [1])[3] for name in ("masks", "probabilities")
        }
        onnx.save(_red(counts["masks"], counts["probabilities"]), str(path))
        return {**about, "path": str(path)}

    monkeypatch.setattr("keras_espmedsam.export.bioimageio.export_model", export_model)


def _red(masks, probabilities):
    nodes = [
        helper.make_node("Cast", ["images"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["float", "white"], ["unit"]),
        helper.make_node("Slice", ["unit", "zero", "one", "axis"], ["red"]),
        helper.make_node("Tile", ["red", "channels"], ["probabilities"]),
        helper.make_node("Round", ["red"], ["near"]),
        helper.make_node("Tile", ["near", "planes"], ["float_masks"]),
        helper.make_node("Cast", ["float_masks"], ["masks"], to=TensorProto.UINT8),
        helper.make_node("Identity", ["unit"], ["quality"]),
    ]
    values = {"zero": [0], "one": [1], "axis": [3], "channels": [1, 1, 1, probabilities]}
    values["planes"] = [1, 1, 1, masks]
    constants = [helper.make_tensor(k, TensorProto.INT64, [len(v)], v) for k, v in values.items()]
    constants.append(helper.make_tensor("white", TensorProto.FLOAT, [], [255]))
    image = helper.make_tensor_value_info("images", TensorProto.UINT8, [None, 64, 64, 3])
    outputs = [
        helper.make_tensor_value_info(name, kind, None)
        for name, kind in (
            ("quality", TensorProto.FLOAT),
            ("masks", TensorProto.UINT8),
            ("probabilities", TensorProto.FLOAT),
        )
    ]
    graph = helper.make_graph(nodes, "red", [image], outputs, constants)
    opset = [helper.make_opsetid("", OPSET)]
    return helper.make_model(graph, opset_imports=opset, ir_version=8)


@pytest.fixture
def package(with_targets, from_brightness, tmp_path):
    path = tmp_path / "slides.zip"
    options = {"modality": "slide", "preset": "eyes", "licence": "CC-BY-4.0"}
    return path, export_bioimageio(with_targets, path, authors=["A. Nobody"], **options)


def test_its_files_fit_together(package, tmp_path):
    path, done = package
    with zipfile.ZipFile(path) as archive:
        archive.extractall(tmp_path / "out")
    folder = tmp_path / "out"
    rdf = json.loads((folder / "rdf.yaml").read_text())
    assert {**rdf, "path": str(path)} == done
    assert rdf["license"] == "CC-BY-4.0" and rdf["authors"] == [{"name": "A. Nobody"}]
    runtime = get_format("onnx").load(folder / rdf["weights"]["onnx"]["source"])
    (image,) = rdf["inputs"]
    found = runtime({"images": np.load(folder / image["test_tensor"]["source"])})
    assert list(found) == [one["id"] for one in rdf["outputs"]]
    for one in rdf["outputs"]:
        stored = np.load(folder / one["test_tensor"]["source"])
        np.testing.assert_array_equal(found[one["id"]], stored)
        assert str(stored.dtype) == one["data"]["type"]
        assert stored.ndim == len(one["axes"]) and stored.shape[1:3] == (64, 64)
    channels = rdf["outputs"][1]["axes"][3]["channel_names"]
    assert channels == ["nuclei", "nuclei_boundary"]
    assert "nuclei" in (folder / "README.md").read_text()


def test_bioimageio_core_tests_it(package):
    core = pytest.importorskip("bioimageio.core", reason="bioimageio.core is not installed: 0.6 GB")
    summary = core.test_model(str(package[0]))
    assert summary.status == "passed", summary.format()


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("eye.onnx", {}, r"end in \.zip"),
        ("eye.zip", {}, "give one of eye, skin, slide"),
        ("eye.zip", {"modality": "eye", "precision": "int8"}, "float32 or float16"),
        ("eye.zip", {"modality": "eye", "size": "any"}, "one image size"),
    ],
)
def test_refused(with_targets, tmp_path, name, options, says):
    with pytest.raises(InputError, match=says):
        export_bioimageio(with_targets, tmp_path / name, **options)
    assert not list(tmp_path.iterdir())


def test_what_is_there_is_kept_unless_asked(package, with_targets):
    path, _ = package
    before = path.read_bytes()
    with pytest.raises(InputError, match="already exists"):
        export_bioimageio(with_targets, path, modality="slide")
    assert path.read_bytes() == before
    done = export_bioimageio(with_targets, path, modality="slide", overwrite=True, licence="mine")
    assert done["license"] == {"source": "LICENSE.txt"}  # No name of SPDX.
    with zipfile.ZipFile(path) as archive:
        assert b"mine" in archive.read("LICENSE.txt")
