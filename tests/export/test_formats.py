"""Formats by name and by path, without Keras; the tables of version 0.1.0."""

import subprocess
import sys

import pytest

from keras_espmedsam import export
from keras_espmedsam.errors import InputError
from keras_espmedsam.export import formats
from keras_espmedsam.export.formats import all_formats, format_of, get_format


def test_listing_and_recognising_formats_imports_neither_keras_nor_a_runtime():
    program = (
        "import sys; from keras_espmedsam.export.formats import all_formats, format_of\n"
        "assert format_of('a.onnx').name == 'onnx' and len(all_formats()) == 5\n"
        "print({'keras', 'tensorflow', 'onnx', 'openvino', 'tf2onnx'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stderr


@pytest.mark.parametrize(
    "path, name",
    [
        ("eye.onnx", "onnx"),
        ("a.b/eye.tflite", "tflite"),
        ("eye.xml", "openvino"),
        ("eye", None),
        ("eye.keras", None),
        ("hf://someone/preset.v2", None),
    ],
)
def test_format_of_a_path(path, name):
    found = format_of(path)
    assert (found and found.name) == name


def test_format_of_a_folder(tmp_path):
    assert format_of(tmp_path) is None
    (tmp_path / "saved_model.pb").write_text("")
    assert format_of(tmp_path).name == "saved_model"
    (tmp_path / "saved_model.pb").unlink()
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "segmenter.onnx").write_text("")
    assert format_of(tmp_path).name == "web"


def test_unknown_names():
    with pytest.raises(InputError, match="did you mean onnx"):
        get_format("onxx")


def test_tables_of_version_0_1_0():
    names = [one.name for one in all_formats()]
    for table in (export.FORMATS, formats.FORMATS, formats.RUNTIMES, formats.WRITERS):
        assert list(table) == names
    assert formats.FORMATS["openvino"].suffix == ".xml"
    with pytest.warns(DeprecationWarning, match="export_model"):
        assert export.export_task is export.export_model
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = export.nothing
