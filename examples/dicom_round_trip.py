"""From a DICOM archive and back to it: an image is stored in Orthanc, found, segmented, its
segmentation stored beside it and read again pixel for pixel; a second run stores nothing.

    pip install "keras-espmedsam[torch,dicom]"
    apt-get install orthanc orthanc-dicomweb
    python examples/dicom_round_trip.py                      # starts an Orthanc of its own
    python examples/dicom_round_trip.py --image chest.dcm --modality xray

The archive lies in a temporary folder, listens on this machine alone and ends with the program.
"""

import argparse
import contextlib
import json
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

import numpy as np

PLUGINS = (
    "/usr/share/orthanc/plugins/libOrthancDicomWeb.so",
    "/usr/local/share/orthanc/plugins/libOrthancDicomWeb.so",
)
SECONDS_TO_START = 30


def find_orthanc():
    """Return the program and its DICOMweb plugin, or None where one of them is missing."""
    program = shutil.which("Orthanc") or shutil.which("orthanc")
    plugin = next((path for path in PLUGINS if pathlib.Path(path).exists()), None)
    return (program, plugin) if program and plugin else None


@contextlib.contextmanager
def orthanc(folder):
    """Run an Orthanc on a free port of this machine; gives the address of its DICOMweb service.

    Args:
        folder: `pathlib.Path`, an empty folder for its configuration, images and log.
    """
    program, plugin = find_orthanc()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (folder / "orthanc.json").write_text(
        json.dumps(
            {
                "Name": "RoundTrip",
                "StorageDirectory": str(folder / "images"),
                "IndexDirectory": str(folder / "images"),
                "Plugins": [plugin],
                "HttpPort": port,
                "RemoteAccessAllowed": False,
                "DicomServerEnabled": False,
                "DicomWeb": {"Enable": True, "Root": "/dicom-web/", "EnableWado": False},
            }
        )
    )
    address = f"http://127.0.0.1:{port}"
    with (folder / "orthanc.log").open("wb") as log:
        process = subprocess.Popen([program, str(folder / "orthanc.json")], stdout=log, stderr=log)
    try:
        end = time.monotonic() + SECONDS_TO_START
        while True:
            try:
                urllib.request.urlopen(f"{address}/system", timeout=2).close()
                break
            except (urllib.error.URLError, OSError):
                if process.poll() is not None or time.monotonic() > end:
                    log = (folder / "orthanc.log").read_text(errors="replace")
                    raise SystemExit(f"Orthanc did not start:\n{log[-2000:]}") from None
                time.sleep(0.1)
        yield f"{address}/dicom-web"
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def make_image(path):
    """Write an ultrasound image of a dark disc, as DICOM."""
    import pydicom
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    rows, columns = np.mgrid[:160, :200]
    disc = (rows - 80) ** 2 + (columns - 100) ** 2 < 35**2
    pixels = np.where(disc, 40, 150) + np.random.default_rng(0).integers(-30, 30, disc.shape)
    image = pydicom.Dataset()
    image.file_meta = pydicom.dataset.FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID = "1.2.840.10008.5.1.4.1.1.6.1"
    image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID = generate_uid()
    image.StudyInstanceUID, image.SeriesInstanceUID = generate_uid(), generate_uid()
    image.Modality, image.PatientName, image.PatientID = "US", "Round^Trip", "round-trip"
    image.Rows, image.Columns = disc.shape
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.BitsAllocated = image.BitsStored = 8
    image.HighBit, image.PixelRepresentation = 7, 0
    image.PixelData = pixels.clip(0, 255).astype("uint8").tobytes()
    image.save_as(path, enforce_file_format=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--image", type=pathlib.Path, help="a DICOM image; default: one is made")
    parser.add_argument("--modality", default="ultrasound")
    parser.add_argument("--preset", default="espmedsam_nano_256")
    arguments = parser.parse_args()
    if find_orthanc() is None:
        sys.exit("Orthanc and its DICOMweb plugin are needed: apt-get install orthanc-dicomweb")

    import pydicom

    from keras_espmedsam.archive import DicomWebArchive, FileSegmenter, segment_archive
    from keras_espmedsam.inference import DicomOptions, model_identity
    from keras_espmedsam.inference.load_models import load_segmenter

    with tempfile.TemporaryDirectory() as name, orthanc(pathlib.Path(name)) as url:
        image = arguments.image or pathlib.Path(name) / "image.dcm"
        if arguments.image is None:
            make_image(image)
        study = pydicom.dcmread(image, stop_before_pixels=True).StudyInstanceUID
        archive = DicomWebArchive(url)
        archive.store([image])
        dicom = DicomOptions(model_identity(arguments.preset), report=True)
        segmenter = FileSegmenter(load_segmenter(arguments.preset), None, arguments.modality, dicom)
        output = pathlib.Path(name) / "results"
        for run in ("first", "second"):
            for outcome in segment_archive(
                archive, archive.find(study), segmenter, output, store=True
            ):
                if outcome.error is not None:
                    raise outcome.error
                print(f"{run} run: {outcome.state}, {outcome.stored} objects stored")
        print("in the archive:", ", ".join(sorted(one.modality for one in archive.find(study))))
        (segmentation,) = (one for one in archive.find(study) if one.modality == "SEG")
        back = pathlib.Path(name) / "back.dcm"
        archive.fetch(segmentation, back)
        (kept,) = output.glob("*_seg.dcm")
        same = np.array_equal(pydicom.dcmread(back).pixel_array, pydicom.dcmread(kept).pixel_array)
        print(f"fetched segmentation equal to the one that was written: {same}")
        sys.exit(not same)


if __name__ == "__main__":
    main()
