"""What every command writes and prints, of files whose headers are full of what must not travel."""

import shutil
from pathlib import Path

import keras
import keras_hub
import numpy as np
import pytest
import yaml
from PIL import ExifTags

import keras_espmedsam as kem
from keras_espmedsam.converters.keras_hub_sam import sam_tensors
from tests.privacy import planted_files
from tests.privacy.conftest import IDENTITY, MODALITIES, real_host, small_segmenter

safetensors_numpy = pytest.importorskip("safetensors.numpy")
torch = pytest.importorskip("torch")

DECODER = {"transformer_depth": 1, "transformer_num_heads": 1, "transformer_mlp_dim": 8}
ENCODER = {"kind": "tic", "hidden_dims": [8], "depths": [1], "num_heads": [1], "kernel_size": 3}
MODEL = {
    "encoder": {**ENCODER, "neck_dim": 8, "output_stride": 16, "adapter_ratio": 1},
    "decoder": DECODER,
    "modalities": MODALITIES,
}
# Files are read and written by the same code on all backends; a run takes minutes to compile.
one_backend = pytest.mark.skipif(
    keras.backend.backend() != "torch", reason="nothing of it depends on the backend"
)


def test_the_search_finds_what_is_planted(images, home):
    """Whatever the code and however it is packed."""
    assert set(planted_files.search(home)) == {path.as_posix() for path in images.values()}
    for name, places in {
        "png": ("PNG tEXt", "PNG zTXt", "PNG iTXt", "PNG EXIF artist", "PNG ICC", "PNG end"),
        "jpeg": ("JPEG comment", "JPEG GPS", "JPEG XMP", "JPEG IPTC caption"),
        "tiff": ("TIFF description", "TIFF host", "TIFF XMP", "TIFF private bytes"),
        "dicom": ("DICOM preamble", "DICOM private bytes", "DICOM sequence", "DICOM overlay"),
        "nifti_gzipped": ("gzip name", "NIfTI aux", "NIfTI extension AFNI"),
    }.items():
        content = images[name].read_bytes()
        for place in places:
            assert planted_files.found_in(content, [planted_files.text(place)]), place
    title = planted_files.text(f"JPEG EXIF {ExifTags.Base.XPTitle}")
    assert planted_files.found_in(images["jpeg"].read_bytes(), [title])  # UTF-16


def test_segment(run, images, preset, nothing_of):
    options = ("--preset", shutil.copytree(preset, "small"), "--overlay")
    result = run("segment", "images", "--modality", "fundus", *options)
    assert result.code == 0, result.printed
    assert len(list(Path("masks").iterdir())) == 2 * 11 + 2 * 3  # A volume has two overlays.
    nothing_of(result)


@one_backend
def test_only_dicom_objects_that_were_asked_for_name_the_patient(run, images, preset, nothing_of):
    pytest.importorskip("highdicom")
    paths = [images["dicom"], images["dicom_jpeg"]]
    options = ("--preset", shutil.copytree(preset, "small"), "--overlay", "--counts", "counts.csv")
    options += ("--polygons", "coco", "--report", "report.csv", "--dicom-sr")
    result = run("segment", *paths, "--modality", "fundus", *options)
    assert result.code == 0, result.printed
    objects = sorted(Path("masks").glob("*.dcm"))
    assert {path.name for path in objects} == {
        f"image_{name}_{kind}.dcm" for name in ("dicom", "dicom_jpeg") for kind in ("seg", "sr")
    }
    name = planted_files._short("PatientName").encode()
    for path in objects:
        content = path.read_bytes()
        assert name in content
        for place in ("DICOM private text", "DICOM overlay", "DICOM sequence", "DICOM preamble"):
            assert not planted_files.found_in(content, [planted_files.text(place)]), place
        path.unlink()
    nothing_of(result)
    broken = Path("images/broken.dcm")
    broken.write_bytes(paths[0].read_bytes()[:-500])
    again = ("--preset", "small", "--dicom-seg", "--output", "again")
    result = run("segment", broken, paths[0], "--modality", "fundus", *again)
    assert result.code == 1, result.printed
    Path("again/image_dicom_seg.dcm").unlink()
    nothing_of(result)


@one_backend
def test_segment_with_the_recogniser(run, images, preset, nothing_of):
    result = run("segment", "images", "--preset", shutil.copytree(preset, "small"))
    assert result.code in (0, 1, 2) and "image_tiff.tif" in result.printed
    nothing_of(result)


def test_evaluate(run, index, preset, nothing_of):
    Path("images/broken.dcm").write_bytes(Path("images/image_dicom.dcm").read_bytes()[:-500])
    with index.open("a") as file:
        file.write("test,xray,xrays,images/broken.dcm,labels/mask_png.png\n")
    options = ("--output", "report.json", "--per-image", "images.csv", "--metric", "dice")
    result = run(
        "evaluate", "--data", index, "--preset", shutil.copytree(preset, "small"), *options
    )
    assert result.code == 1, result.printed
    assert Path("images.csv").read_text().count("images/image_") == 7
    assert Path("report.json.partial").is_file()
    # It holds whole paths, and lies there until the run is complete.
    Path("report.json.partial").unlink()
    nothing_of(result)


@one_backend
def test_train(run, index, nothing_of):
    settings = {
        "output": "run",
        "tensorboard": True,
        "model": MODEL,
        "data": {"sources": [{"index": "index.csv"}]},
        "phases": [{"image_size": 32, "epochs": 1, "steps": 1, "batch_size": 2}],
    }
    Path("train.yaml").write_text(yaml.safe_dump(settings))
    result = run("train", "train.yaml")
    assert result.code == 0, result.printed
    assert list(Path("run").rglob("events*")) and list(Path("run").rglob("curves.png"))
    nothing_of(result)
    result = run("presets", "run/preset")
    assert "Checksums: correct." in result.printed or "no card" in result.printed
    nothing_of(result)


@one_backend
def test_distill(run, index, nothing_of, _undrawn):
    phase = {"epochs": 1, "steps": 1, "batch_size": 2}
    settings = {
        "output": "run",
        "image_size": 32,
        "tensorboard": True,
        "cache": {"folder": "cache"},
        "student": MODEL,
        "medical_teacher": MODEL,
        "data": {"sources": [{"index": "index.csv"}]},
        "phases": [{"phase": "teacher", "parts": "all", **phase}, {"phase": "joint", **phase}],
    }
    Path("distill.yaml").write_text(yaml.safe_dump(settings))
    result = run("distill", "distill.yaml")
    assert result.code == 0, result.printed
    assert list(Path("cache").rglob("*.npy"))
    nothing_of(result)


@one_backend
def test_add_modality(run, index, preset, nothing_of, _undrawn):
    small = shutil.copytree(preset, "small")
    options = ("--epochs", "1", "--steps", "1", "--batch-size", "2", "--output", "run")
    result = run("add-modality", "retina", "--data", index, "--preset", small, *options)
    assert result.code == 0, result.printed
    nothing_of(result)


@one_backend
def test_add_target(run, index, preset, nothing_of, _undrawn):
    small = shutil.copytree(preset, "small")
    # An image has all of its targets in one split.
    lines = index.read_text().splitlines()
    for i, line in enumerate(lines):
        if line.startswith(("val", "test")):
            image = Path(line.split(",")[3])
            copy = shutil.copy(image, image.with_name(f"copy_{image.name}"))
            lines[i] = line.replace(image.as_posix(), copy.as_posix())
    index.write_text("\n".join(lines) + "\n")
    modality = min(one.modality for one in kem.data.read_index(index))
    options = ("--epochs", "1", "--steps", "1", "--batch-size", "2", "--output", "run")
    result = run("add-target", modality, "disc", "--data", index, "--preset", small, *options)
    assert result.code == 0, result.printed
    nothing_of(result)


@one_backend
def test_convert(run, home, nothing_of):
    """Of a checkpoint the tensors travel, and neither its metadata nor what lies beside them."""
    encoder = keras_hub.models.ViTDetBackbone(
        **{"hidden_size": 24, "num_layers": 1, "intermediate_dim": 32, "num_heads": 2},
        **{"global_attention_layer_indices": [0], "image_shape": (64, 64, 3)},
        **{"num_output_channels": 16, "window_size": 3},
    )
    tensors = sam_tensors(encoder, "It")
    tensors = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    folder = home / "images"
    folder.mkdir()
    metadata = {"author": planted_files.text("safetensors metadata")}
    safetensors_numpy.save_file(tensors, folder / "sam.safetensors", metadata=metadata)
    weights = {name: torch.from_numpy(array) for name, array in tensors.items()}
    beside = {"data": planted_files.text("beside the weights"), "epoch": 7}
    torch.save({"model": weights, "settings": beside}, folder / "sam.pth")
    for name in ("sam.safetensors", "sam.pth"):
        assert planted_files.found_in((folder / name).read_bytes())
        result = run("convert", "sam", f"images/{name}", "--output", f"of_{name}")
        assert result.code == 0, result.printed
        assert Path(f"of_{name}/config.json").is_file()
        nothing_of(result)


# Whole paths are given, and none may be in an artefact.
@pytest.mark.parametrize("format", ["saved_model", "tflite", "onnx", "openvino"])
@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow",
    reason="from another backend each format starts a TensorFlow process for half a minute",
)
def test_export(run, home, index, preset, nothing_of, format):
    small = home / "small"
    small_segmenter().save_to_preset(str(small))
    suffix = {"saved_model": "", "openvino": ".xml"}.get(format, f".{format}")
    options = ["--format", format, "--output", home / f"out/model{suffix}"]
    if format == "onnx":
        options += ["--precision", "int8", "--calibration", home / "index.csv"]
    result = run("export", "--preset", small, *options)
    assert result.code == 0, result.printed
    result.printed = ""  # It names the artefact, as it was given.
    nothing_of(result)


def test_what_is_saved_in_python(home, preset):
    """A preset, a `.keras` file and weights, saved under whole paths: none is in what is saved."""
    segmenter = kem.models.ESPMedSAMImageSegmenter.from_preset(str(preset))
    segmenter.compile()
    segmenter.save_to_preset(str(home / "saved"))
    segmenter.save(home / "model.keras")
    segmenter.save_weights(home / "model.weights.h5")
    words = (planted_files.WORD, *IDENTITY, str(home), str(preset.parent), *real_host())
    assert {path.name for path in home.rglob("*")} >= {"config.json", "model.keras"}
    assert planted_files.search(home, words) == {}
