"""The JSON file beside an artefact, and whether the two belong together."""

import json
import os

import pytest

from keras_espmedsam.errors import InputError
from keras_espmedsam.export import ExportedSegmenter
from keras_espmedsam.export.artefact_files import check_files, read_description
from keras_espmedsam.export.formats import get_format


def test_a_sound_one_is_read(stranger):
    path = stranger()
    description, chosen = read_description(path)
    assert (chosen.name, description["modalities"]) == ("onnx", ["fundus"])
    check_files(path, chosen, description)


NORMAL = {"mean": [1, 2, 3], "divisor": [1, 2, 3]}


@pytest.mark.parametrize(
    "key, value",
    [
        *[("task", value) for value in (..., None, 3, ["segmentation"], "x", {})],
        *[("format", value) for value in (..., None, ["onnx"], 3, "onxx", "tflite", "\x1b[2J")],
        *[("flavor", value) for value in (..., None, 1, [], {}, "masks")],
        *[("modalities", value) for value in (..., None, 5, [], "eye", [1], [None], [""])],
        *[("modalities", value) for value in (["a", "a"], {"a": 1}, [["a"]], ["x" * 300])],
        *[("inputs", value) for value in (..., None, [], {}, {"images": 3}, {"images": {}})],
        *[("resize_mode", value) for value in (..., None, "x", 3, ["pad"])],
        *[("normalization", value) for value in (..., None, {}, [], 3, {"mean": 1, "divisor": 2})],
        *[
            ("normalization", {**NORMAL, "divisor": value})
            for value in ([0, 1, 1], [1, 1], ["1", "2", "3"], [True, 1, 1], [-1, 1, 1])
        ],
        ("normalization", NORMAL),  # Of no model.
        *[("size_multiple", value) for value in ("x", 0, -32, True, 1.5)],
        *[("threshold", value) for value in ("x", 2, -1, [])],
        *[("intensity", value) for value in (3, {}, [1], [2, 1], "bright")],
        *[("sha256", value) for value in ([], "x", {"eye.onnx": 3}, {"eye.onnx": "00"})],
        *[
            ("sha256", {name: "0" * 64})
            for name in ("../eye.onnx", "/etc/passwd", "C:\\x", "C:/x", "a/../../b", "")
        ],
    ],
)  # fmt: skip
def test_a_wrong_field_is_named(stranger, key, value):
    path = stranger(**{key: value})
    with pytest.raises(InputError) as caught:
        ExportedSegmenter(path)
    assert key[:6] in str(caught.value) or "unknown" in str(caught.value)
    assert len(str(caught.value)) < 600 and str(caught.value).isprintable()


@pytest.mark.parametrize(
    "shape",
    [
        None,
        3,
        "1333",
        [1, 2],
        [1, 32, 32, 4],
        [1, 32, 32, True],
        [0, 32, 32, 3],
        [-1, 32, 32, 3],
        [1, None, 32, 3],
        [1, 32.0, 32, 3],
        [1, "32", 32, 3],
        [1, 10**9, 10**9, 3],
        [1, 10**9, 32, 3],
        [4096, 16384, 16384, 3],
    ],
)
def test_a_wrong_shape_is_named(stranger, shape):
    with pytest.raises(InputError, match=r"'inputs'; expected .*images\.shape"):
        ExportedSegmenter(stranger(inputs={"images": {"shape": shape}}))


def test_a_size_of_no_model_is_told(stranger):
    with pytest.raises(InputError, match=r"a description that fits no model of this package: .*32"):
        ExportedSegmenter(stranger(inputs={"images": {"shape": [1, 33, 64, 3]}}))


@pytest.mark.parametrize(
    "text",
    [
        *("", "[]", "3", "null", "{", "[" * 100_000, '{"task": NaN}', "\udcff"),
        '{"a": ' + "9" * 5000 + "}",
    ],
)  # fmt: skip
def test_what_is_no_description_is_told(stranger, text):
    path = stranger()
    beside = path.with_name("eye.onnx.json")
    beside.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(InputError, match=r"description eye\.onnx\.json"):
        ExportedSegmenter(path)
    beside.unlink()
    with pytest.raises(InputError, match=r"no description eye\.onnx\.json next to it"):
        ExportedSegmenter(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no pipes by name")
def test_what_is_no_file_is_not_waited_for(stranger):
    path = stranger()
    for one in (path, path.with_name("eye.onnx.json")):
        kept = one.read_bytes()
        one.unlink()
        os.mkfifo(one)
        with pytest.raises(InputError, match=r"lacks the file eye\.onnx|no description"):
            ExportedSegmenter(path)
        one.unlink()
        one.write_bytes(kept)


def test_one_of_a_classifier(stranger):
    with pytest.raises(InputError, match="is an artefact for classification, not a segmenter"):
        ExportedSegmenter(stranger(task="classification"))


def test_another_file_than_the_description_is_of_is_refused(stranger):
    path = stranger()
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(InputError, match=r"is not the file that its description is for.*SHA-256"):
        ExportedSegmenter(path)
    with pytest.raises(InputError, match="is not the file that its description is for"):
        ExportedSegmenter(path, trust=True)


@pytest.mark.parametrize("listed", [{"eye.bin": "0" * 64}, {"folder/eye.onnx": "0" * 64}])
def test_a_list_without_the_file_is_another_ones(stranger, listed):
    with pytest.raises(InputError, match=r"does not list eye\.onnx"):
        ExportedSegmenter(stranger(sha256=listed))


def test_without_checksums_there_is_nothing_to_compare(stranger):
    for sums in ({}, None, ...):
        ExportedSegmenter(stranger(sha256=sums))


def test_both_files_may_be_called_otherwise(stranger):
    path = stranger()
    path.rename(path.with_name("b.v2.onnx"))
    path.with_name("eye.onnx.json").rename(path.with_name("b.v2.onnx.json"))
    ExportedSegmenter(path.with_name("b.v2.onnx"))


def test_files_of_a_folder_and_of_two_are_compared(tmp_path):
    import hashlib

    sums = {}
    for name in ("old/saved_model.pb", "old/variables/variables.index", "old.xml", "old.bin"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
        sums[name] = hashlib.sha256(name.encode()).hexdigest()
    (tmp_path / "old").rename(tmp_path / "new")
    folder = {name: one for name, one in sums.items() if "/" in name}
    files = {name: one for name, one in sums.items() if "/" not in name}
    check_files(tmp_path / "new", get_format("saved_model"), {"sha256": folder})
    check_files(tmp_path / "old.xml", get_format("openvino"), {"sha256": files})
    (tmp_path / "new" / "variables" / "variables.index").write_text("other")
    with pytest.raises(InputError, match=r"variables\.\S* is not the file"):
        check_files(tmp_path / "new", get_format("saved_model"), {"sha256": folder})
    (tmp_path / "old.bin").write_text("other")
    with pytest.raises(InputError, match=r"old\.bin is not the file"):
        check_files(tmp_path / "old.xml", get_format("openvino"), {"sha256": files})
    (tmp_path / "old.bin").unlink()
    with pytest.raises(InputError, match=r"lacks the file old\.bin"):
        check_files(tmp_path / "old.xml", get_format("openvino"), {"sha256": files})


def test_the_description_of_version_0_1_0_is_read(stranger):
    path = stranger(flavor="pictures", preset="x", precision="float32")
    assert json.loads(path.with_name("eye.onnx.json").read_text())["flavor"] == "pictures"
    assert ExportedSegmenter(path).modalities == ("fundus",)
