"""Label maps: numbers, overlaps, file types, and where they lie in space."""

import numpy as np
import pytest

from keras_espmedsam.data import DecodedImage, Targets, read_image, read_images
from keras_espmedsam.data.images import inspect_image_file
from keras_espmedsam.errors import InputError
from keras_espmedsam.serve.monai_label.geometry import stored_affine
from keras_espmedsam.serve.monai_label.label_maps import (
    LabelMap,
    checked_extension,
    label_values,
    target_numbers,
    write_label_map,
)
from keras_espmedsam.serve.monai_label.nrrd import write_nrrd

nibabel = pytest.importorskip("nibabel")
pydicom = pytest.importorskip("pydicom")


def parsed_nrrd(path):
    """The fields of a header, and the array, by the format's definition."""
    header, _, data = path.read_bytes().partition(b"\n\n")
    magic, *lines = header.decode("ascii").split("\n")
    assert magic == "NRRD0004"
    fields = dict(line.split(": ", 1) for line in lines)
    shape = [int(one) for one in fields["sizes"].split()]
    return fields, np.frombuffer(data, f"<{np.dtype(fields['type']).str[1:]}").reshape(
        shape, order="F"
    )


def test_a_target_of_several_modalities_has_one_number():
    targets = Targets({"a": ("lesion",), "b": ("disc", "cup"), "c": ("lesion", "edge")})
    assert target_numbers(targets) == {"lesion": 1, "disc": 2, "cup": 3, "edge": 4}


def test_the_later_target_is_on_top_and_an_inner_one_on_all():
    first = np.array([[True, True, False]])
    second = np.array([[False, True, True]])
    numbers = {"a": 1, "b": 300}
    values = label_values({"a": first, "b": second}, numbers)
    assert values.dtype == np.uint16
    assert values.tolist() == [[1, 300, 300]]
    assert label_values({"a": first, "b": second}, numbers, ["a"]).tolist() == [[1, 1, 300]]


def test_nrrd_is_as_it_is_defined(tmp_path):
    array = np.arange(24).reshape(2, 3, 4).astype(">u2")
    affine = np.array([[0, -2, 0, 5], [3, 0, 0, -6], [0, 0, 4, 7], [0, 0, 0, 1.0]])
    write_nrrd(tmp_path / "a.nrrd", array, affine)
    fields, found = parsed_nrrd(tmp_path / "a.nrrd")
    np.testing.assert_array_equal(found, array)
    assert fields["space directions"] == "(0.0,3.0,0.0) (-2.0,0.0,0.0) (0.0,0.0,4.0)"
    assert fields["space origin"] == "(5.0,-6.0,7.0)"
    assert fields["space"] == "right-anterior-superior"


@pytest.mark.parametrize("extension", [".nii.gz", ".nrrd"])
def test_a_volume_and_its_label_map_lie_in_one_place(tmp_path, extension):
    affine = np.array([[0, -2, 0, 5], [3, 0, 0, -6], [0, 0, 4, 7], [0, 0, 0, 1.0]])
    array = np.zeros((5, 4, 3), "uint8")
    array[:2, 1] = 200
    nibabel.save(nibabel.Nifti1Image(array, affine), tmp_path / "scan.nii.gz")
    images = list(read_images(tmp_path / "scan.nii.gz"))
    slices = [one.layout.undo((one.array > 100).astype("uint8")) for one in images]
    label_map = LabelMap(slices, images[0])
    path = write_label_map(label_map, tmp_path, extension)
    if extension == ".nrrd":
        fields, found = parsed_nrrd(path)
        assert fields["space directions"] == "(0.0,3.0,0.0) (-2.0,0.0,0.0) (0.0,0.0,4.0)"
    else:
        written = nibabel.load(path)
        found = np.asarray(written.dataobj)
        np.testing.assert_array_equal(written.affine, affine)
    np.testing.assert_array_equal(found, array > 100)
    assert label_map.centroids({"bright": 1, "dark": 2}) == {"bright": ["1", "0", "1", "1"]}


def test_a_photograph_is_placed_as_itk_reads_it(tmp_path, image_bytes):
    (tmp_path / "eye.png").write_bytes(image_bytes([[0, 0, 9], [0, 0, 0]]))
    label_map = LabelMap(
        [np.array([[0, 0, 1], [0, 0, 0]], "uint8")], read_image(tmp_path / "eye.png")
    )
    fields, found = parsed_nrrd(write_label_map(label_map, tmp_path, ".nrrd"))
    assert found.shape == (3, 2, 1)
    assert found[2, 0, 0] == 1
    assert fields["space directions"].startswith("(-1.0,0.0,0.0) (0.0,-1.0,0.0)")
    volume = nibabel.load(write_label_map(label_map, tmp_path, ".nii.gz"))
    np.testing.assert_array_equal(np.asarray(volume.dataobj), found)
    np.testing.assert_array_equal(volume.affine, np.diag([-1, -1, 1, 1]))


def dicom(path, **tags):
    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    dataset.SOPInstanceUID = pydicom.uid.generate_uid()
    dataset.SOPClassUID = pydicom.uid.SecondaryCaptureImageStorage
    for name, value in tags.items():
        setattr(dataset, name, value)
    dataset.save_as(path, enforce_file_format=True)
    return DecodedImage(np.zeros((2, 3)), path)


def test_a_dicom_slice_is_placed_by_its_header(tmp_path):
    spacing = {"PixelSpacing": ["2", "3"]}  # Down and across.
    placed = {
        "ImagePositionPatient": ["5", "6", "7"],
        "ImageOrientationPatient": ["0", "1", "0", "0", "0", "-1"],
    }
    found = stored_affine(dicom(tmp_path / "a.dcm", **spacing, **placed, SliceThickness="4"))
    # DICOM's y of the columns is 3, its z of the rows -2; x and y change their sign.
    expected = [[0, 0, 4, -5], [-3, 0, 0, -6], [0, -2, 0, 7], [0, 0, 0, 1]]
    np.testing.assert_allclose(found, expected)
    found = stored_affine(dicom(tmp_path / "b.dcm", **spacing))
    np.testing.assert_allclose(found, np.diag([-3, -2, 1, 1]))
    flat = {**placed, "ImageOrientationPatient": ["0"] * 6}
    found = stored_affine(dicom(tmp_path / "c.dcm", **spacing, **flat))
    np.testing.assert_allclose(found, np.diag([-3, -2, 1, 1]))


def test_the_type_of_file_fits_the_image(tmp_path, image_bytes):
    (tmp_path / "eye.png").write_bytes(image_bytes([[0, 9]]))
    file = inspect_image_file(tmp_path / "eye.png")
    assert checked_extension(None, file) == ".png"
    assert checked_extension(".nrrd", file) == ".nrrd"
    with pytest.raises(InputError, match=r"'\.exe'; expected one of \.nrrd"):
        checked_extension(".exe", file)
    with pytest.raises(InputError, match="result_extension"):
        checked_extension([".nrrd"], file)
    nibabel.save(nibabel.Nifti1Image(np.zeros((2, 2, 2), "uint8"), None), tmp_path / "a.nii")
    volume = inspect_image_file(tmp_path / "a.nii")
    assert checked_extension("", volume) == ".nii.gz"
    with pytest.raises(InputError, match="2 slices"):
        checked_extension(".png", volume)
