"""The page for browsers: what lies in its folder, and what it refuses; its masks are compared in
tests/benchmarks/test_browser.py."""

import json
import types

import keras
import numpy as np
import onnx
import pytest

from keras_espmedsam.errors import InputError
from keras_espmedsam.export import ExportedSegmenter, comparison
from keras_espmedsam.export.description import describe
from keras_espmedsam.export.formats import format_of, get_format, web
from keras_espmedsam.export.request import make_request


@pytest.fixture
def bundle(tmp_path, monkeypatch):
    """Stands for the built page."""
    folder = tmp_path / "dist"
    (folder / "assets").mkdir(parents=True)
    for name in ("index.html", "sw.js", "assets/index.js"):
        (folder / name).write_text(name)
    monkeypatch.setenv(web.BUNDLE, str(folder))
    return folder


class _Recognizer:
    """Stands for the classifier of the page; `exported` holds how it was asked for."""

    class_names = ("eye", "lung")

    def __init__(self):
        self.exported = []

    def export_for(self, format, path, **options):
        self.exported.append(options)
        helper, kind = onnx.helper, onnx.TensorProto
        given, found = (
            helper.make_tensor_value_info(name, of, [1, 2])
            for name, of in (("images", kind.UINT8), ("probabilities", kind.FLOAT))
        )
        node = helper.make_node("Cast", ["images"], ["probabilities"], to=kind.FLOAT)
        graph = helper.make_graph([node], "g", [given], [found])
        opsets = [helper.make_opsetid("", 17)]
        onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), str(path))
        path.with_name(f"{path.name}.json").write_text("{}")
        images = {"dtype": "uint8", "shape": [1, 2]}
        return {"inputs": {"images": images}, "class_names": ["eye", "lung"], "path": str(path)}


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="from another it would take a process"
)
def test_the_site_holds_the_page_and_its_models(segmenter, bundle, tmp_path, monkeypatch):
    recognizer = _Recognizer()
    monkeypatch.setattr("keras_espmedsam.inference.load_models.load_recognizer", lambda: recognizer)
    path = tmp_path / "site"
    done = segmenter.export_for("web", path, licence="test", preset="eyes")
    assert done["format"] == "web" and done["difference"] < 1e-4
    assert recognizer.exported == [{"preset": "tic_tiny_modality", "batch_size": 1}]
    models = json.loads((path / "models.json").read_text())
    assert list(models) == ["segmenter", "recognizer"]
    for one in models.values():
        assert one["bytes"] == (path / one["file"]).stat().st_size
        assert one["description"]["inputs"]["images"]["dtype"] == "float32"
        (images, *_) = onnx.load(str(path / one["file"])).graph.input
        assert images.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    about = models["segmenter"]["description"]
    assert (about["modalities"], about["licence"]) == (["skin", "lung", "eye"], "test")
    assert about["inputs"]["images"]["shape"] == [1, 64, 64, 3]
    text = (path / "site_files.js").read_text()
    listed = json.loads(text.removeprefix("self.SITE = ").removesuffix(";\n"))["files"]
    there = {file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file()}
    assert set(listed) == there - {"sw.js", "site_files.js"}
    assert (path / "assets" / "index.js").read_text() == "assets/index.js"
    found = ExportedSegmenter(path)
    assert found.modalities == ("skin", "lung", "eye") and format_of(path).name == "web"
    image = comparison.made_image(np.random.default_rng(5), (64, 64))
    assert found.segment(image, "eye")["masks"].shape == (64, 64)


def test_a_modality_of_another_size_has_a_file_of_its_own(segmenter, bundle, tmp_path, monkeypatch):
    written = []

    def write(self, task, request, path, description, calibration):
        written.append((request.size, description["inputs"]["images"]["shape"]))
        _Recognizer().export_for("onnx", path)

    monkeypatch.setattr(web.ONNX, "write", write)
    monkeypatch.setattr(
        "keras_espmedsam.inference.load_models.load_recognizer",
        lambda: types.SimpleNamespace(class_names=("mole",)),
    )
    converter = segmenter.preprocessor.image_converter
    monkeypatch.setattr(converter, "image_sizes", {"eye": (96, 128)})
    request = make_request(segmenter, "web", tmp_path / "site")
    description = describe(segmenter, request, licence="test")
    request.format.write(segmenter, request, request.path, description, [])
    assert written == [((64, 64), [1, 64, 64, 3]), ((96, 128), [1, 96, 128, 3])]
    models = json.loads((request.path / "models.json").read_text())
    assert list(models) == ["segmenter", "segmenter:eye"]
    # Its scope was fitted at its own size.
    scopes = [one["description"].get("tells_scope") for one in models.values()]
    assert scopes == [None, ["eye"]]


def test_the_version_changes_with_any_file(tmp_path):
    versions = set()
    for text in ("a", "b"):
        (tmp_path / "page.js").write_text(text)
        (tmp_path / "site_files.js").unlink(missing_ok=True)
        web._write_list(tmp_path)
        versions.add((tmp_path / "site_files.js").read_text())
    assert len(versions) == 2


def test_without_the_built_page_it_says_how_to_build_it(bundle, tmp_path, monkeypatch):
    assert web.bundle_folder() == bundle
    (bundle / "sw.js").unlink()
    with pytest.raises(InputError, match=r"which holds no built page\..*npm ci && npm run build"):
        web.bundle_folder()
    monkeypatch.delenv(web.BUNDLE)
    monkeypatch.setattr(web, "_SOURCE", tmp_path / "browser")
    with pytest.raises(InputError, match=r"it is not built.*ESPMEDSAM_WEB_BUNDLE"):
        web.bundle_folder()


@pytest.mark.parametrize(
    ("is_segmenter", "flavor", "batch_size", "sentence"),
    [
        (False, "images", 1, "give a segmenter"),
        (True, "logits", 1, "takes the flavor images"),
        (True, "images", 4, "one image at a time"),
    ],
)
def test_what_the_page_cannot_do_is_refused(
    bundle, tmp_path, is_segmenter, flavor, batch_size, sentence
):
    task = types.SimpleNamespace(is_segmenter=is_segmenter)
    request = types.SimpleNamespace(flavor=flavor, batch_size=batch_size)
    with pytest.raises(InputError, match=sentence):
        get_format("web").write(task, request, tmp_path / "site", {}, [])
    assert not (tmp_path / "site").exists()
