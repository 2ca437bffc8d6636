import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keras_espmedsam.cli import segment
from keras_espmedsam.data import Targets
from keras_espmedsam.errors import InputError
from keras_espmedsam.inference import item_batches as batches
from keras_espmedsam.inference import result_writer


def read(path):
    with Image.open(path) as image:
        return np.asarray(image)


def names(folder="masks"):
    return sorted(path.name for path in Path(folder).iterdir())


def assert_error(result, code, *words):
    """One sentence on stderr, no traceback, and the exit code."""
    assert result.exit_code == code, result.output
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert "Traceback" not in result.output
    for word in words:
        assert any(word in line for line in errors), result.stderr
    return errors


# === Masks and overlays ===


def test_a_mask_of_the_inputs_size(run, image, segmenter):
    image("eye.png")
    result = run("segment", "eye.png", "--modality", "fundus")
    assert result.exit_code == 0, result.output
    mask = read("masks/eye_mask.png")
    assert mask.shape == (4, 6)
    assert (mask[:, :3] == 0).all()
    assert (mask[:, 3:] == 255).all()
    assert names() == ["eye_mask.png"]
    assert result.stdout.splitlines() == [str(Path("masks/eye_mask.png"))]
    assert "1 of 1 files segmented" in result.stderr
    assert segmenter.options == [(["fundus"], 0.5, 8)]
    assert segmenter.loaded == ["espmedsam_nano_256"]


def test_overlay_output_preset_and_threshold(run, image, segmenter):
    image("eye.png")
    result = run(
        *("segment", "eye.png", "--modality", "fundus", "--overlay", "--output", "a/b"),
        *("--preset", "mine", "--threshold", "0.9", "--mirror"),
    )
    assert result.exit_code == 0
    assert names("a/b") == ["eye_mask.png", "eye_overlay.png"]
    assert not read("a/b/eye_mask.png").any()  # 200 / 255 is below 0.9
    assert read("a/b/eye_overlay.png").shape == (4, 6, 3)
    assert segmenter.loaded == ["mine"]
    assert segmenter.mirror


def test_one_pixel(run, image, segmenter):
    image("dot.png", (1, 1))
    assert run("segment", "dot.png", "--modality", "xray").exit_code == 0
    assert read("masks/dot_mask.png").tolist() == [[255]]


def test_a_turned_photograph_gets_a_mask_as_stored(run, image, segmenter):
    exif = Image.Exif()
    exif[0x0112] = 6
    image("phone.png", exif=exif)
    assert run("segment", "phone.png", "--modality", "xray", "--overlay").exit_code == 0
    assert read("masks/phone_mask.png").shape == (4, 6)
    assert (read("masks/phone_mask.png")[:, 3:] == 255).all()
    assert read("masks/phone_overlay.png").shape == (6, 4, 3)  # upright, to be looked at


def test_batches_reach_across_files(run, image, segmenter):
    for number in range(5):
        image(f"{number}.png", (4 + number, 6))
    assert run("segment", ".", "--modality", "xray", "--batch-size", "2").exit_code == 0
    assert segmenter.batches == [2, 2, 1]
    assert [read(f"masks/{number}_mask.png").shape[0] for number in range(5)] == [4, 5, 6, 7, 8]


def test_large_images_make_small_batches(run, image, segmenter, monkeypatch):
    monkeypatch.setattr(batches, "BATCH_PIXELS", 50)
    for number in range(4):
        image(f"{number}.png", (5, 6))
    assert run("segment", ".", "--modality", "xray").exit_code == 0
    assert segmenter.batches == [2, 2]


# === Folders, patterns and names ===


def test_folders_patterns_and_repetitions(run, image, segmenter):
    for name in ("a/1.png", "a/deep/2.jpg", "b/3.png", "b/4.jpg", ".hidden/5.png", "a/.6.png"):
        image(name)
    Path("a/notes.txt").write_text("not an image")
    result = run("segment", "a", "b/*.png", "a/1.png", "--modality", "xray")
    assert result.exit_code == 0, result.output
    assert names() == ["1_mask.png", "2_mask.png", "3_mask.png"]


def test_a_name_with_brackets_is_a_file_and_not_a_pattern(run, image, segmenter):
    image("scan[1].png")
    assert run("segment", "scan[1].png", "--modality", "xray").exit_code == 0
    assert names() == ["scan[1]_mask.png"]


def test_masks_in_a_folder_are_no_inputs(run, image, segmenter):
    image("x.png")
    first = run("segment", ".", "--modality", "xray", "--output", ".", "--overlay")
    assert first.exit_code == 0
    assert names(".") == ["x.png", "x_mask.png", "x_overlay.png"]
    again = run("segment", ".", "--modality", "xray", "--output", ".", "--overwrite")
    assert again.exit_code == 0
    assert "Skipped 2 files" in again.stderr
    assert names(".") == ["x.png", "x_mask.png", "x_overlay.png"]


def test_the_output_folder_is_no_input(run, image, segmenter):
    image("x.png")
    image("masks/other.png")
    assert run("segment", ".", "--modality", "xray").exit_code == 0
    assert names() == ["other.png", "x_mask.png"]


def test_equal_stems_are_told_apart(run, image, segmenter):
    for name in ("p/a/1.png", "p/b/1.png", "q/a/1.png", "p/b/2.png", "q/3.png", "q/3.jpg"):
        image(name)
    result = run("segment", "p", "q", "--modality", "xray")
    assert result.exit_code == 0, result.output
    assert names() == [
        *("2_mask.png", "3_jpg_mask.png", "3_png_mask.png"),
        *("b_1_mask.png", "p_a_1_mask.png", "q_a_1_mask.png"),
    ]


def test_names_do_not_depend_on_unreadable_files(run, image, segmenter):
    image("a/1.png")
    image("b/1.png").write_bytes(b"")
    assert run("segment", "a", "b", "--modality", "xray").exit_code == 1
    assert names() == ["a_1_mask.png"]


# === Nothing is lost ===


def test_existing_results_are_kept(run, image, segmenter):
    image("x.png")
    image("y.png")
    image("masks/x_mask.png")
    before = Path("masks/x_mask.png").read_bytes()
    result = run("segment", "x.png", "y.png", "--modality", "xray")
    assert_error(result, 2, "x_mask.png", "--overwrite")
    assert names() == ["x_mask.png"]
    assert Path("masks/x_mask.png").read_bytes() == before
    assert segmenter.loaded == []  # said before any heavy work
    assert run("segment", "x.png", "y.png", "--modality", "xray", "--overwrite").exit_code == 0
    assert Path("masks/x_mask.png").read_bytes() != before


def test_an_input_is_never_replaced(run, image, segmenter):
    image("x.png")
    image("x_mask.png")
    result = run(
        *("segment", "x.png", "x_mask.png", "--modality", "xray", "--output", ".", "--overwrite")
    )
    assert_error(result, 2, "would replace an input")
    assert names(".") == ["x.png", "x_mask.png"]


def test_two_inputs_never_share_a_result(run, image, segmenter):
    for name in ("a/x.png", "b/x.png", "c/a_x.png", "c/b/a_x.png"):
        image(name)
    result = run("segment", "a", "b", "c", "--modality", "xray")
    assert result.exit_code == 0, result.output
    assert len(names()) == 4


def test_the_output_must_be_a_folder(run, image, segmenter):
    image("x.png")
    assert_error(run("segment", "x.png", "--modality", "xray", "--output", "x.png"), 2, "a folder")


# === Malformed input ===


@pytest.fixture
def malformed(image, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "cut.png")
    content = (tmp_path / "cut.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(content[: len(content) // 2])
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("hello")
    Image.new("1", (20_000, 20_000)).save(tmp_path / "huge.png")
    image("unlucky.png", (13, 13))  # the fake refuses this size
    return {
        "cut.png": "cut short",
        "empty.png": "is empty",
        "text.png": "not an image",
        "huge.png": "100,000,000",
        "unlucky.png": "bad luck",
        "missing.png": "does not exist",
    }


def test_unreadable_files_are_reported_and_the_others_done(run, image, segmenter, malformed):
    image("good.png")
    image("good2.png")
    result = run("segment", "good.png", *malformed, "good2.png", "--modality", "xray")
    errors = assert_error(result, 1, *malformed.values())
    assert len(errors) == len(malformed)
    for name, word in malformed.items():
        assert sum(name in line and word in line for line in errors) == 1
    assert names() == ["good2_mask.png", "good_mask.png"]
    assert "2 of 8 files segmented into masks; 6 failed" in result.stderr


def test_exit_code_2_when_nothing_was_done(run, segmenter, malformed):
    for name, word in malformed.items():
        assert_error(run("segment", name, "--modality", "xray"), 2, word)
    assert not Path("masks").exists() or names() == []


def test_the_pixel_limit_can_be_raised(run, image, segmenter):
    image("x.png")
    small = run("segment", "x.png", "--modality", "xray", "--max-pixels", "23")
    assert_error(small, 2, "24 pixels; the limit is 23", "--max-pixels")
    assert run("segment", "x.png", "--modality", "xray", "--max-pixels", "24").exit_code == 0


def test_wrong_modality_lists_the_known_ones(run, image, segmenter):
    image("x.png")
    assert_error(run("segment", "x.png", "--modality", "xary"), 2, "'xary'", "xray, fundus")
    assert segmenter.batches == []
    assert not Path("masks").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["--modality", "xray"],
        ["x.png", "--modality", "xray", "--threshold", "1.5"],
        ["x.png", "--modality", "xray", "--threshold", "nan"],
        ["x.png", "--modality", "xray", "--batch-size", "0"],
        ["none*.png", "--modality", "xray"],
        ["void", "--modality", "xray"],
    ],
)
def test_wrong_usage(run, image, segmenter, arguments):
    image("x.png")
    Path("void").mkdir()
    result = run("segment", *arguments)
    assert result.exit_code == 2
    assert "Traceback" not in result.output
    assert segmenter.loaded == []


def test_a_result_that_cannot_be_written(run, image, segmenter, monkeypatch):
    image("x.png")
    image("y.png")
    write = result_writer.write_mask

    def fail_for_x(path, *arguments):
        if path.name == "x_mask.png":
            raise OSError(28, "No space left on device")
        write(path, *arguments)

    monkeypatch.setattr(result_writer, "write_mask", fail_for_x)
    result = run("segment", "x.png", "y.png", "--modality", "xray")
    assert_error(result, 1, "x.png cannot be written: No space left on device")
    assert names() == ["y_mask.png"]


# === Recognised modalities ===


def told(result):
    """What is printed of each file on stderr, without the last line's count."""
    return result.stderr.splitlines()[:-1]


def test_the_modality_is_recognised_unless_given(run, image, segmenter, classifier):
    image("lung.png", dark=40)
    image("eye.png", dark=109)
    result = run("segment", "lung.png", "eye.png")
    assert result.exit_code == 0, result.output
    assert segmenter.options == [(["xray", "fundus"], 0.5, 8)]
    assert told(result) == ["lung.png: xray (1.000)", "eye.png: fundus (0.900)"]
    assert result.stdout.splitlines() == [
        str(Path("masks") / name) for name in ("lung_mask.png", "eye_mask.png")
    ]
    assert segmenter.loaded == ["espmedsam_nano_256", "tic_tiny_modality"]
    assert classifier.batches == [2]


def test_auto_and_another_recognizer_can_be_given(run, image, segmenter, classifier):
    image("x.png")
    result = run("segment", "x.png", "--modality", "auto", "--recognizer", "mine")
    assert result.exit_code == 0, result.output
    assert segmenter.loaded == ["espmedsam_nano_256", "mine"]


def test_nothing_is_recognised_where_the_modality_is_given(run, image, segmenter, classifier):
    image("x.png", dark=109)
    result = run("segment", "x.png", "--modality", "xray", "--recognizer", "missing")
    assert result.exit_code == 0
    assert segmenter.options[0][0] == ["xray"]
    assert segmenter.loaded == ["espmedsam_nano_256"] and classifier.batches == []


@pytest.mark.parametrize("known", [True, False], ids=["preset", "unknown"])
def test_of_one_modality_nothing_is_recognised(
    run, image, segmenter, classifier, monkeypatch, known
):
    segmenter.modalities = ("xray",)
    if not known:
        monkeypatch.setattr(segment, "stored_targets", lambda preset: None)
    image("x.png", dark=109)
    result = run("segment", "x.png")
    assert result.exit_code == 0, result.output
    assert segmenter.options[0][0] == ["xray"] and told(result) == []
    assert segmenter.loaded == ["espmedsam_nano_256"] and classifier.batches == []
    # Who asks for it has the images checked.
    again = run("segment", "x.png", "--modality", "auto", "--overwrite")
    assert_error(again, 2, "recognised as fundus", "knows xray")


def test_what_is_not_recognised_is_refused_and_the_others_done(run, image, segmenter, classifier):
    image("good.png", dark=9)
    image("unclear.png", dark=106)
    image("mri.png", dark=200)
    image("unlucky.png", (13, 13))
    image("good2.png", dark=110)
    names_in = ("good", "unclear", "mri", "unlucky", "good2")
    result = run("segment", *(f"{name}.png" for name in names_in))
    errors = assert_error(result, 1)
    assert sorted(errors) == [
        "error: mri.png was recognised as mri (1.000), which this segmenter does not know (it "
        "knows xray, fundus). Give the modality if you know it: "
        "--modality on the command line, modality in Python.",
        "error: unclear.png was not recognised: fundus 0.60, xray 0.20, mri 0.20 (at least 0.75 is "
        "needed). Give the modality if you know it: "
        "--modality on the command line, modality in Python.",
        "error: unlucky.png: Received an image of 13 x 13; such images bring bad luck.",
    ]
    assert names() == ["good2_mask.png", "good_mask.png"]
    assert segmenter.options[0][0] == ["xray", "fundus"]
    assert "2 of 5 files segmented into masks; 3 failed" in result.stderr


def test_exit_code_2_when_nothing_is_recognised(run, image, segmenter, classifier):
    image("unclear.png", dark=106)
    assert_error(run("segment", "unclear.png"), 2, "unclear.png was not recognised")
    assert segmenter.batches == []


def test_refused_files_leave_no_gaps_in_the_batches(run, image, segmenter, classifier):
    for number, dark in enumerate((10, 106, 10, 106, 10, 10)):
        image(f"{number}.png", dark=dark)
    assert run("segment", ".", "--batch-size", "2").exit_code == 1
    assert classifier.batches == [2, 2, 2]
    assert segmenter.batches == [2, 2]


def test_a_recognizer_that_shares_no_modality(run, image, segmenter, classifier):
    image("x.png")
    classifier.class_names = ("cat", "dog", "cow")
    assert_error(run("segment", "x.png"), 2, "tells cat, dog, cow apart", "knows xray, fundus")


@pytest.mark.parametrize("function", ["check_preset", "load_recognizer"])
def test_a_recognizer_that_cannot_be_loaded(run, image, segmenter, monkeypatch, function):
    def fail(preset, precision=None, trust=False):
        if preset == "mine":
            raise InputError("Unknown preset 'mine'.")

    image("x.png")
    monkeypatch.setattr(segment, function, fail)
    result = run("segment", "x.png", "--recognizer", "mine")
    (line,) = assert_error(result, 2)
    assert line == "error: Unknown preset 'mine'. If you give --modality, no recogniser is needed."
    assert not Path("masks").exists()


def volume(name, values):
    nibabel = pytest.importorskip("nibabel", reason="needs the extra medical")
    data = np.zeros((6, 5, len(values)), np.uint8)
    data[:] = values
    nibabel.save(nibabel.Nifti1Image(data, np.eye(4)), name)


def test_a_few_slices_decide_for_a_volume(run, image, segmenter, classifier):
    # Slices 2, 4, 6, 8 and 10 of 10 are looked at; 0.6 and four times 0.9 are 0.84 in the mean.
    volume("brain.nii", [200, 106, 200, 109, 200, 109, 200, 109, 200, 109])
    image("x.png")
    result = run("segment", "brain.nii", "x.png", "--batch-size", "4")
    assert result.exit_code == 0, result.output
    assert told(result) == [
        "brain.nii: fundus (0.840, mean of 5 of 10 slices)",
        "brain.nii: it has nearly the same brightness everywhere, so its mask means nothing.",
        "x.png: xray (1.000)",
    ]
    assert classifier.batches == [4, 1, 1]
    assert [modality for batch, *_ in segmenter.options for modality in batch] == (
        ["fundus"] * 10 + ["xray"]
    )


def test_a_volume_is_refused_as_a_whole(run, image, segmenter, classifier):
    volume("brain.nii", [10, 110, 10])
    image("x.png")
    result = run("segment", "brain.nii", "x.png")
    errors = assert_error(result, 1, "brain.nii was not recognised: xray 0.66, fundus 0.33 (at")
    assert len(errors) == 1
    assert names() == ["x_mask.png"]


def test_a_damaged_frame_is_found_while_recognising(run, image, segmenter, classifier):
    tifffile = pytest.importorskip("tifffile", reason="needs the extra medical")
    with tifffile.TiffWriter("pages.tif") as tiff:
        tiff.write(np.zeros((4, 6), np.float32))
        tiff.write(np.full((4, 6), 7, np.float32))  # out of range
    image("x.png")
    assert len(assert_error(run("segment", "pages.tif", "x.png"), 1, "pages.tif")) == 1
    assert names() == ["x_mask.png"]


# === Medical files ===


def test_nifti(run, segmenter):
    nibabel = pytest.importorskip("nibabel", reason="needs the extra medical")
    data = np.zeros((6, 5, 3), np.uint8)
    data[2:4, 1:3, 1] = 255
    affine = np.diag([-2.0, 3.0, 4.0, 1.0])
    nibabel.save(nibabel.Nifti1Image(data, affine), "brain.nii.gz")
    result = run("segment", "brain.nii.gz", "--modality", "xray", "--overlay", "--batch-size", 2)
    assert result.exit_code == 0, result.output
    mask = nibabel.load("masks/brain_mask.nii.gz")
    np.testing.assert_array_equal(np.asarray(mask.dataobj), data > 0)
    np.testing.assert_array_equal(mask.affine, affine)
    overlays = [f"brain_slice{k}_overlay.png" for k in (1, 2, 3)]
    assert names() == ["brain_mask.nii.gz", *overlays]
    assert result.stdout.splitlines() == [str(Path("masks/brain_mask.nii.gz"))]
    assert segmenter.batches == [2, 1]


def test_a_volume_with_nan(run, image, segmenter):
    nibabel = pytest.importorskip("nibabel", reason="needs the extra medical")
    image("x.png")
    nibabel.save(nibabel.Nifti1Image(np.full((3, 3, 2), np.nan, np.float32), np.eye(4)), "nan.nii")
    assert_error(run("segment", "nan.nii", "x.png", "--modality", "xray"), 1, "nan.nii holds NaN")
    assert names() == ["x_mask.png"]


def test_dicom_frames_without_any_header_field(run, segmenter):
    pydicom = pytest.importorskip("pydicom", reason="needs the extra medical")
    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = pydicom.uid.UltrasoundMultiFrameImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    dataset.PatientName, dataset.PatientID = "Doe^Jane", "SECRET7"
    dataset.Rows, dataset.Columns, dataset.NumberOfFrames = 4, 6, 12
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation = 7, 0
    frames = np.zeros((12, 4, 6), np.uint8)
    frames[1, 0, 0] = 255
    dataset.PixelData = frames.tobytes()
    dataset.save_as("IM0001", enforce_file_format=True)
    result = run("segment", ".", "--modality", "xray", "--overlay")
    assert result.exit_code == 0, result.output
    assert len(names()) == 24
    assert read("masks/IM0001_frame02_mask.png")[0, 0] == 255
    told = result.output.encode() + b"".join(path.read_bytes() for path in Path("masks").iterdir())
    assert b"Doe" not in told
    assert b"SECRET7" not in told


def test_16_bit_tiff(run, segmenter):
    tifffile = pytest.importorskip("tifffile", reason="needs the extra medical")
    tifffile.imwrite("deep.tif", (np.arange(24).reshape(4, 6) / 23).astype(np.float32))
    assert run("segment", "deep.tif", "--modality", "xray").exit_code == 0
    assert (read("masks/deep_mask.png").ravel() == [0] * 12 + [255] * 12).all()


def test_a_damaged_frame_fails_its_file_only(run, image, segmenter, monkeypatch):
    tifffile = pytest.importorskip("tifffile", reason="needs the extra medical")
    with tifffile.TiffWriter("pages.tif") as tiff:
        tiff.write(np.zeros((4, 6), np.float32))
        tiff.write(np.full((4, 6), 7, np.float32))  # out of range
    image("x.png")
    result = run("segment", "pages.tif", "x.png", "--modality", "xray")
    assert len(assert_error(result, 1, "pages.tif")) == 1
    assert "1 of 2 files segmented into masks; 1 failed" in result.stderr
    assert result.stdout.splitlines() == [str(Path("masks/x_mask.png"))]
    # The page before the damage is kept, whatever the batches.
    assert names() == ["pages_frame1_mask.png", "x_mask.png"]


def test_what_is_computed_in_is_handed_on_and_a_wrong_one_refused_at_once(run, image, segmenter):
    image("x.png")
    command = ("segment", "x.png", "--modality", "xray", "--overwrite")
    for options, expected in (
        ((), "float32"),
        (("--precision", "bfloat16"), "bfloat16"),
        (("--precision", "float32"), "float32"),
    ):
        assert run(*command, *options).exit_code == 0
        assert segmenter.precision == expected
    loaded = len(segmenter.loaded)
    assert_error(run(*command, "--precision", "int8"), 2, "'int8' to compute in", "exported")
    assert len(segmenter.loaded) == loaded


# === Several targets ===


@pytest.fixture
def targets(segmenter):
    """The fake with several targets: a pixel's brightness, and half of it; objects of slides."""
    segmenter.modalities = ("xray", "fundus", "slide")
    segmenter.target_set = Targets(
        {"xray": ("mask",), "fundus": ("vessels", "disc"), "slide": ("nuclei",)},
        instances={"slide": {"nuclei": "components"}},
    )
    segmenter.given = []

    def segment(images, modalities, **options):
        segmenter.given.append(options)
        found = {name: [] for name in ("masks", "targets", "instances")}
        for image, modality in zip(images, modalities, strict=True):
            own = segmenter.target_set.of(modality)
            names = tuple(name for name in options.get("targets") or own if name in own)
            bright = np.stack([image > (250 if name == "disc" else 100) for name in names], -1)
            found["masks"].append(bright)
            found["targets"].append(names)
            objects = {"nuclei": bright[..., 0].astype(np.int32)} if modality == "slide" else {}
            found["instances"].append(objects)
        return found

    segmenter.segment = segment
    return segmenter


def test_each_target_has_a_mask_and_a_row_of_the_table(run, image, targets):
    image("eye.png")
    image("slide.png")
    result = run("segment", "eye.png", "--modality", "fundus", "--overlay")
    assert result.exit_code == 0, result.output
    assert names() == ["eye_disc_mask.png", "eye_overlay.png", "eye_vessels_mask.png"]
    assert result.stdout.splitlines() == [
        str(Path("masks") / name) for name in ("eye_vessels_mask.png", "eye_disc_mask.png")
    ]
    assert (read("masks/eye_vessels_mask.png")[:, 3:] == 255).all()
    assert not read("masks/eye_disc_mask.png").any()
    rows = [line.split() for line in result.stderr.splitlines() if line.startswith("  ")]
    assert ["fundus", "vessels", "1", "50.0%"] in rows and ["fundus", "disc", "1", "0.0%"] in rows
    result = run("segment", "slide.png", "--modality", "slide")
    assert names()[-2:] == ["slide_mask.png", "slide_nuclei_instances.png"]
    assert result.stdout.splitlines()[1] == str(Path("masks/slide_nuclei_instances.png"))
    assert ["slide", "nuclei", "1", "50.0%", "1"] in [
        line.split() for line in result.stderr.splitlines()
    ]


def test_one_target_prints_no_table(run, image, targets):
    image("x.png")
    result = run("segment", "x.png", "--modality", "xray")
    assert result.stderr.splitlines() == ["1 of 1 files segmented into masks."]
    assert targets.given[0] == {"threshold": 0.5, "batch_size": 8, "mirror": False}


def test_scales(run, image, targets):
    image("x.png")
    result = run("segment", "x.png", "--modality", "xray", "--scales", "0.75, 1,1.25")
    assert result.exit_code == 0, result.output
    assert targets.given[0]["scales"] == (0.75, 1, 1.25)
    result = run("segment", "x.png", "--modality", "xray", "--scales", "1", "--overwrite")
    assert result.exit_code == 0, result.output
    assert "scales" not in targets.given[1]
    for wrong in ("1,x", "0.1", "1,1"):
        result = run("segment", "x.png", "--modality", "xray", "--scales", wrong)
        assert result.exit_code == 2
        assert "such as 0.75,1,1.25" in " ".join(result.stderr.split())


def test_only_some_targets_thresholds_and_no_postprocessing(run, image, targets):
    image("eye.png")
    result = run(
        *("segment", "eye.png", "--modality", "fundus", "--target", "disc", "--no-postprocess"),
        *("--threshold", "0.4", "--threshold", "disc=0.3"),
    )
    assert result.exit_code == 0, result.output
    assert names() == ["eye_disc_mask.png"]
    (given,) = targets.given
    assert given["targets"] == ["disc"] and given["postprocess"] is False
    assert given["threshold"] == {"mask": 0.4, "vessels": 0.4, "disc": 0.3, "nuclei": 0.4}


def test_outlines_and_a_table_of_counts(run, image, targets):
    image("a.png")
    image("b.png")
    command = ("segment", ".", "--modality", "slide", "--counts", "counts.csv")
    result = run(*command, "--polygons", "geojson")
    assert result.exit_code == 0, result.output
    assert [name for name in names() if "geojson" in name] == [
        "a_polygons.geojson",
        "b_polygons.geojson",
    ]
    assert "Written: counts.csv" in result.stderr
    rows = [line.split(",")[:6] for line in Path("counts.csv").read_text().splitlines()]
    assert rows[1:] == [[f"{name}.png", "", "slide", "nuclei", "1", "12"] for name in "ab"]
    assert_error(run(*command, "--output", "new"), 2, "counts.csv already exists", "--counts")
    again = run(*command, "--overwrite", "--polygons", "coco")
    assert again.exit_code == 0, again.output
    assert len(json.loads(Path("masks/coco.json").read_text())["annotations"]) == 2


def test_a_failed_file_is_not_counted(run, image, targets):
    image("good.png")
    Path("bad.png").write_text("hello")
    result = run("segment", "good.png", "bad.png", "--modality", "slide", "--counts", "c.csv")
    assert result.exit_code == 1
    assert len(Path("c.csv").read_text().splitlines()) == 2
    assert run("segment", "bad.png", "--modality", "slide", "--counts", "d.csv").exit_code == 2
    assert not Path("d.csv").exists()


def test_label_images_in_a_folder_are_no_inputs(run, image, targets):
    image("x.png")
    first = run("segment", ".", "--modality", "slide", "--output", ".", "--polygons", "coco")
    assert first.exit_code == 0, first.output
    before = names(".")
    again = run(
        *("segment", ".", "--modality", "slide", "--output", ".", "--overwrite"),
        *("--polygons", "coco"),
    )
    assert "Skipped 2 files named *_mask, *_overlay or *_instances." in again.stderr
    assert names(".") == before


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--modality", "fundus", "--target", "nuclei"], "'nuclei', which belongs to slide"),
        (["--modality", "fundus", "--target", "disk"], "'disk'; did you mean disc?"),
        (["--target", "disk"], "mask (xray); vessels, disc (fundus); nuclei (slide)"),
        (["--threshold", "vessel=0.3"], "threshold of 'vessel'; did you mean vessels?"),
        (["--threshold", "vessels=2"], "--threshold 'vessels=2'; expected a number from 0 to 1"),
        (["--threshold", "high"], "--threshold 'high'; expected a number"),
        (["--threshold", "vessels="], "--threshold 'vessels='; expected a number"),
        (["--polygons", "svg"], "polygons='svg'; expected geojson or coco"),
        (["--counts", "."], "for the table of counts; expected the path of a file"),
        (["--counts", "x.png"], "x.png would replace an image"),
    ],
)
def test_wrong_targets_are_refused_before_the_model_is_loaded(run, image, targets, options, words):
    image("x.png")
    assert_error(run("segment", "x.png", *options), 2, words)
    assert targets.loaded == [] and not Path("masks").exists()


def test_targets_that_are_known_only_when_the_model_is_loaded(run, image, targets, monkeypatch):
    monkeypatch.setattr(segment, "stored_targets", lambda preset: None)
    image("eye.png")
    image("masks/eye_disc_mask.png")
    command = ("segment", "eye.png", "--modality", "fundus")
    assert_error(run(*command), 2, "eye_disc_mask.png", "--overwrite")
    assert targets.loaded and targets.given == []
    assert_error(run(*command, "--target", "nuclei"), 2, "which belongs to slide")
    assert run(*command, "--target", "vessels").exit_code == 0


def test_a_target_that_a_recognised_modality_lacks(run, image, targets, classifier):
    image("lung.png", dark=40)
    image("eye.png", dark=109)
    result = run("segment", "lung.png", "eye.png", "--target", "disc")
    assert_error(result, 1, "lung.png: Received the target 'disc', which belongs to fundus")
    assert names() == ["eye_disc_mask.png"]
