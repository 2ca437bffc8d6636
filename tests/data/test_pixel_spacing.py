import nibabel
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from keras_espmedsam.data.images import read_images
from keras_espmedsam.data.pixel_spacing import pixel_spacing


@pytest.fixture
def write_dicom(tmp_path):
    def write(**fields):
        meta = FileMetaDataset()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        meta.MediaStorageSOPClassUID = CTImageStorage
        meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
        dataset = FileDataset(None, Dataset(), file_meta=meta, preamble=bytes(128))
        dataset.SOPClassUID = CTImageStorage
        dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = 3, 4, 1
        dataset.PhotometricInterpretation = "MONOCHROME2"
        dataset.BitsAllocated = dataset.BitsStored = 8
        dataset.HighBit, dataset.PixelRepresentation = 7, 0
        dataset.PixelData = bytes(range(12))
        for name, value in fields.items():
            setattr(dataset, name, value)
        path = tmp_path / "scan.dcm"
        dataset.save_as(path, enforce_file_format=True)
        return next(read_images(path))

    return write


def test_a_dicom_files_pixels(write_dicom):
    assert pixel_spacing(write_dicom(PixelSpacing=[0.5, 0.25])) == (0.5, 0.25)
    assert pixel_spacing(write_dicom()) is None
    # That of the detector, which is not that of the patient.
    assert pixel_spacing(write_dicom(ImagerPixelSpacing=[0.1, 0.1])) is None
    assert pixel_spacing(write_dicom(PixelSpacing=[0, 0.25])) is None


def test_the_pixels_of_an_enhanced_dicom_file(write_dicom):
    measures, groups = Dataset(), Dataset()
    measures.PixelSpacing = [0.75, 1.5]
    groups.PixelMeasuresSequence = [measures]
    image = write_dicom(SharedFunctionalGroupsSequence=[groups])
    assert pixel_spacing(image) == (0.75, 1.5)


def region(delta=(0.02, 0.03), units=3, format=1):
    found = Dataset()
    found.RegionSpatialFormat, found.PhysicalUnitsXDirection = format, units
    found.PhysicalUnitsYDirection = units
    found.PhysicalDeltaY, found.PhysicalDeltaX = delta
    return found


@pytest.mark.parametrize(
    ("regions", "spacing"),
    [
        ([region()], (0.2, 0.3)),
        ([region(), region((-0.02, 0.03)), region((9.0, 9.0), 4, 3)], (0.2, 0.3)),  # a spectrum
        ([region(), region((0.02, 0.04))], None),  # two images of different depths
        ([region(units=4)], None),  # seconds
        ([region(), region(units=0)], None),
        ([region((0, 0.03))], None),
        ([Dataset()], None),
        ([], None),
    ],
)
def test_ultrasound_regions(write_dicom, regions, spacing):
    found = pixel_spacing(write_dicom(SequenceOfUltrasoundRegions=regions))
    assert found == (None if spacing is None else pytest.approx(spacing))


@pytest.mark.parametrize("turned", [False, True])
def test_a_volumes_pixels_are_in_the_order_of_the_stored_slice(tmp_path, turned):
    affine = np.diag([0.5, 2.0, 3.0, 1.0])
    if turned:  # The first axis of the file runs to the front, the second to the right.
        affine[:, :2] = affine[:, 1::-1]
    data = np.arange(4 * 5 * 3, dtype="uint8").reshape(4, 5, 3)
    nibabel.save(nibabel.Nifti1Image(data, affine), tmp_path / "scan.nii")
    image = next(read_images(tmp_path / "scan.nii"))
    assert image.layout.undo(image.array).shape == (4, 5)
    assert pixel_spacing(image) == ((2.0, 0.5) if turned else (0.5, 2.0))


@pytest.mark.parametrize(
    ("unit", "millimetres"), [("meter", 1000), ("mm", 1), ("micron", 0.001), ("unknown", 1)]
)
def test_a_volumes_unit_counts(tmp_path, unit, millimetres):
    data = np.arange(4 * 5 * 3, dtype="uint8").reshape(4, 5, 3)
    image = nibabel.Nifti1Image(data, np.diag([0.5, 2.0, 3.0, 1.0]))
    image.header.set_xyzt_units(unit, "sec")
    nibabel.save(image, tmp_path / "scan.nii")
    found = pixel_spacing(next(read_images(tmp_path / "scan.nii")))
    assert found == pytest.approx((0.5 * millimetres, 2 * millimetres), rel=1e-12)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg"])
def test_the_resolution_of_a_print_is_none_of_the_patient(tmp_path, suffix):
    path = tmp_path / f"image{suffix}"
    Image.new("RGB", (4, 3)).save(path, dpi=(300, 300))
    assert pixel_spacing(next(read_images(path))) is None
