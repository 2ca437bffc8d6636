"""What `segment` takes of a folder, and what it says of the rest."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keras_espmedsam.inference.input_files import expand_inputs, unique_names


def names(folder="masks"):
    return sorted(path.name for path in Path(folder).iterdir())


def dicom(path, **fields):
    pydicom = pytest.importorskip("pydicom", reason="needs the extra medical")
    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    kind = fields.pop("kind", pydicom.uid.SecondaryCaptureImageStorage)
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = kind
    uid = pydicom.uid.generate_uid()
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = uid
    dataset.PatientName = "Doe^Jane"
    if fields.pop("pixels", True):
        array = np.full((4, 6), 9, "uint8")
        array[:, 3:] = 200
        dataset.Rows, dataset.Columns = array.shape
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
        dataset.BitsAllocated = dataset.BitsStored = 8
        dataset.HighBit, dataset.PixelRepresentation = 7, 0
        dataset.PixelData = array.tobytes()
    dataset.save_as(path, enforce_file_format=True)


def test_dicom_files_are_known_by_their_content(run, segmenter):
    Path("scans").mkdir()
    for name in ("1.2.840.17", "1.2.840.18", "study.IMA", "IM0001", "plain.dcm"):
        dicom(Path("scans") / name)
    Path("scans/table.1").write_text("no image")
    result = run("segment", "scans", "--modality", "xray")
    assert result.exit_code == 0, result.output
    stems = ("1.2.840.17", "1.2.840.18", "IM0001", "plain", "study")
    assert names() == [f"{stem}_mask.png" for stem in stems]


def test_a_number_behind_a_point_is_no_suffix():
    paths = [Path("1.2.840.17"), Path("1.2.840.18")]
    assert [unique_names([path])[0] for path in paths] == ["1.2.840.17", "1.2.840.18"]


def test_formats_that_are_not_read_are_named(run, image, segmenter):
    image("phone/a.jpg")
    jpeg = Path("phone/a.jpg").read_bytes()
    Path("phone/b.jfif").write_bytes(jpeg)
    Path("phone/no_suffix").write_bytes(jpeg)
    Path("phone/c.heic").write_bytes(bytes((0, 0, 0, 24)) + b"ftypheic" + bytes(500))
    Path("phone/named_wrongly.png").write_bytes(b"\0\0\0\x20ftypavif" + bytes(50))
    Path("phone/d.nrrd").write_bytes(b"NRRD0004\n" + bytes(100))
    Image.new("L", (8, 8)).save("phone/e.jp2")
    Path("phone/notes.txt").write_text("P5 is a label of mine")
    result = run("segment", "phone", "--modality", "fundus")
    assert result.exit_code == 0, result.output
    assert names() == ["a_mask.png", "b_mask.png", "no_suffix_mask.png"]
    assert (
        "Skipped 4 files in unsupported formats "
        "(c.heic: HEIC, d.nrrd: NRRD, e.jp2: JPEG 2000, and 1 more)."
    ) in result.stderr
    assert "3 of 3 files segmented" in result.stderr


def test_a_format_that_is_not_read_fails_when_it_is_named(run, image, segmenter):
    image("a.png")
    Path("c.heic").write_bytes(bytes((0, 0, 0, 24)) + b"ftypheic" + bytes(500))
    result = run("segment", "a.png", "c.heic", "--modality", "fundus")
    assert result.exit_code == 1
    assert "c.heic is in an unsupported format (HEIC); save it as PNG" in result.stderr


def test_a_folder_of_nothing_that_is_read(run, segmenter):
    Path("phone").mkdir()
    Path("phone/c.heic").write_bytes(bytes((0, 0, 0, 24)) + b"ftypheic" + bytes(500))
    result = run("segment", "phone", "--modality", "fundus")
    assert result.exit_code == 2
    assert "unsupported formats (c.heic: HEIC)" in result.stderr


@pytest.mark.parametrize(
    "kind",
    ["RTStructureSetStorage", "BasicTextSRStorage", "EncapsulatedPDFStorage", "RTPlanStorage"],
)
def test_dicom_objects_that_are_no_images(run, segmenter, kind):
    uid = pytest.importorskip("pydicom", reason="needs the extra medical").uid
    Path("scans").mkdir()
    dicom(Path("scans/image.dcm"))
    dicom(Path("scans/object.dcm"), kind=getattr(uid, kind), pixels=False)
    # In a folder it is passed over; named itself, it is an error.
    result = run("segment", "scans", "--modality", "xray")
    assert result.exit_code == 0, result.output
    assert "Skipped 1 file without an image (object.dcm" in result.stderr
    result = run("segment", "scans/object.dcm", "--modality", "xray", "--output", "other")
    assert result.exit_code == 2
    assert f"it is of the kind {getattr(uid, kind).name!r}" in result.stderr
    assert "Doe" not in result.stderr


def test_a_dicom_segmentation_is_no_image(run, segmenter):
    uid = pytest.importorskip("pydicom", reason="needs the extra medical").uid
    Path("scans").mkdir()
    dicom(Path("scans/image.dcm"))
    dicom(Path("scans/seg.dcm"), kind=uid.SegmentationStorage)
    dicom(Path("scans/dose.dcm"), kind=uid.RTDoseStorage)
    result = run("segment", "scans", "--modality", "xray")
    assert result.exit_code == 0, result.output
    assert names() == ["image_mask.png"]
    assert "Skipped 2 files without an image" in result.stderr


def test_a_pipe_in_a_folder_is_not_waited_for(tmp_path):
    import os

    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "folder" / "scan")
    Image.new("L", (4, 4)).save(tmp_path / "folder" / "a.png")
    found = expand_inputs([str(tmp_path / "folder")], tmp_path / "out")
    assert [path.name for path in found.files] == ["a.png"]


# === Black and white ===


@pytest.fixture
def ten_bits(tmp_path):
    """Images of 16 bits that use ten of them: their left half at 40, their right at 800."""

    def write(*files):
        array = np.full((8, 12), 40, np.uint16)
        array[:, 6:] = 800
        for name in files:
            Image.fromarray(array).save(tmp_path / name)

    return write


def test_a_part_of_16_bits_is_shown_and_told(run, ten_bits, segmenter):
    ten_bits(*(f"{i}.png" for i in range(5)))
    result = run("segment", ".", "--modality", "xray")
    assert result.exit_code == 0, result.output
    for i in range(5):
        mask = np.asarray(Image.open(f"masks/{i}_mask.png"))
        assert not mask[:, :6].any()
        assert mask[:, 6:].all()
    lines = result.stderr.splitlines()
    assert sum("only 10 of its 16 bits are used" in line for line in lines) == 4
    assert lines[-3].startswith("And 2 more files: only 10 of its 16 bits are used")
    assert lines[-2] == "If that is wrong, give --intensity full or --intensity LOW:HIGH."


@pytest.mark.parametrize(("intensity", "foreground"), [("full", 0), ("0:1023", 48), ("0:1700", 0)])
def test_it_can_be_said(run, ten_bits, segmenter, intensity, foreground):
    ten_bits("a.png")
    result = run("segment", "a.png", "--modality", "xray", "--intensity", intensity)
    assert result.exit_code == 0, result.output
    assert int((np.asarray(Image.open("masks/a_mask.png")) > 0).sum()) == foreground
    assert "bits" not in result.stderr


def test_the_presets_intensity_counts_unless_another_is_said(run, ten_bits, segmenter):
    segmenter.intensity = (0.0, 4095.0)
    ten_bits("a.png")
    assert run("segment", "a.png", "--modality", "xray").exit_code == 0
    assert not np.asarray(Image.open("masks/a_mask.png")).any()
    segmenter.intensity = (0.0, 1023.0)
    assert run("segment", "a.png", "--modality", "xray", "--overwrite").exit_code == 0
    assert (np.asarray(Image.open("masks/a_mask.png")) > 0).sum() == 48  # applied once
    result = run("segment", "a.png", "--modality", "xray", "--intensity", "auto", "--overwrite")
    assert "only 10 of its 16 bits" in result.stderr
    assert np.asarray(Image.open("masks/a_mask.png")).any()


@pytest.mark.parametrize("intensity", ["9:1", "a:b", "1:2:3", "nan:1", "half"])
def test_what_is_no_intensity(run, ten_bits, segmenter, intensity):
    ten_bits("a.png")
    result = run("segment", "a.png", "--modality", "xray", "--intensity", intensity)
    assert result.exit_code == 2
    assert f"Received the intensity {intensity!r} (--intensity); expected" in result.stderr


def test_an_image_of_one_brightness_is_told(run, tmp_path, segmenter):
    Image.new("RGB", (40, 30), (180, 120, 90)).save(tmp_path / "wall.png")
    result = run("segment", "wall.png", "--modality", "xray")
    assert result.exit_code == 0
    assert "wall.png: it has nearly the same brightness everywhere" in result.stderr


def test_an_image_of_one_brightness_is_not_recognised(run, image, segmenter, classifier):
    classify = classifier.classify

    def classify_and_look(images, batch_size=32):
        found = classify(images, batch_size)
        return {**found, "blank": [np.ptp(image) == 0 for image in images]}

    classifier.classify = classify_and_look
    image("lung.png", dark=40)
    Image.new("L", (40, 30), 40).save("black.png")
    result = run("segment", "lung.png", "black.png")
    assert result.exit_code == 1
    assert "black.png has nearly the same brightness everywhere" in result.stderr
    assert names() == ["lung_mask.png"]


def test_empty_slices_have_no_part_in_recognising_a_volume(run, tmp_path, segmenter, classifier):
    tifffile = pytest.importorskip("tifffile", reason="needs the extra medical")
    pages = np.full((5, 8, 8), 40, np.uint8)
    pages[[0, 4]] = 109  # would be fundus, with 0.9
    pages[1:4, 4:] = 200
    tifffile.imwrite(tmp_path / "stack.tif", pages, photometric="minisblack")
    classify = classifier.classify

    def classify_and_look(images, batch_size=32):
        found = classify(images, batch_size)
        return {**found, "blank": [np.ptp(image) == 0 for image in images]}

    classifier.classify = classify_and_look
    result = run("segment", "stack.tif")
    assert result.exit_code == 0, result.output
    assert "stack.tif: xray (1.000, mean of 5 of 5 frames)" in result.stderr


def test_frames_of_an_animation(run, tmp_path, segmenter):
    frames = []
    for bright in (2, 5, 8):
        array = np.zeros((6, 10), np.uint8)
        array[:, :bright] = 200
        frames.append(Image.fromarray(array))
    for name in ("a.gif", "b.webp", "c.png"):
        options = {"lossless": True} if name == "b.webp" else {}
        first, *rest = frames
        first.save(tmp_path / name, save_all=True, append_images=rest, duration=100, **options)
    result = run("segment", ".", "--modality", "xray")
    assert result.exit_code == 0, result.output
    for stem in "abc":
        for number, bright in enumerate((2, 5, 8), start=1):
            mask = np.asarray(Image.open(f"masks/{stem}_frame{number}_mask.png")) > 0
            assert mask[:, :bright].all()
            assert not mask[:, bright:].any()
