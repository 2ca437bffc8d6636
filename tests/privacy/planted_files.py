"""Images whose headers hold text that must never travel, and the search for it in what is written.

Every text holds the word SECRET and where it was planted, so that a failed test says which field
got out. It is planted wherever a format has room for it: named fields, comments, private elements,
profiles, thumbnails, extensions, and bytes before, between and behind what is read.
"""

import gzip
import io
import lzma
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageCms, PngImagePlugin

WORD = "SECRET"

_EXIF_TEXTS = {
    **{ExifTags.Base.ImageDescription: "description", ExifTags.Base.Make: "make"},
    **{ExifTags.Base.Model: "model", ExifTags.Base.Software: "software"},
    **{ExifTags.Base.Artist: "artist", ExifTags.Base.HostComputer: "host"},
    **{ExifTags.Base.Copyright: "copyright", ExifTags.Base.DocumentName: "document"},
    **{ExifTags.Base.PageName: "page"},
}


def text(place):
    """What is planted in a place: `text("PNG comment")`."""
    return f"{WORD}^{place.replace(' ', '_').upper()}"


def pixels(seed=0, size=(32, 40), colour=True):
    """uint8 with a bright square on a dark, uneven ground; it looks like no medical image."""
    array = np.random.default_rng(seed).integers(0, 60, (*size, 3), "uint8")
    array[8:24, 8 + seed % 5 : 24] += 150
    return array if colour else array[..., 0]


def plant_images(folder, array=None, stem="image", big=False):
    """Write one image in every format that is read, each full of planted texts.

    Args:
        folder: `pathlib.Path`.
        array: uint8 `(height, width, 3)`; a mask is grey in three equal channels.
        stem: the files are called `STEM_FORMAT.SUFFIX`.
        big: whether the formats of several images hold two.

    Returns:
        dict of format to path.
    """
    array = pixels() if array is None else array
    grey = array[..., 0]
    folder.mkdir(parents=True, exist_ok=True)
    found = {}
    for name, suffix, write in (
        ("png", ".png", _write_png),
        ("jpeg", ".jpg", _write_jpeg),
        ("gif", ".gif", _write_gif),
        ("webp", ".webp", _write_webp),
        ("bmp", ".bmp", _write_bmp),
        ("ppm", ".ppm", _write_ppm),
        ("tiff", ".tif", _write_tiff),
        ("tiff_pillow", ".tiff", _write_tiff_with_pillow),
        ("tiff_imagej", ".tif", _write_tiff_of_imagej),
    ):
        found[name] = folder / f"{stem}_{name}{suffix}"
        write(found[name], array)
    for name, suffix, write in (
        ("dicom", ".dcm", _write_dicom),
        ("dicom_jpeg", ".dcm", _write_dicom_of_jpeg),
        ("nifti", ".nii", _write_nifti),
        ("nifti_gzipped", ".nii.gz", _write_nifti_gzipped),
    ):
        found[name] = folder / f"{stem}_{name}{suffix}"
        write(found[name], grey)
    return found


# === Everyday images ===


def exif(format):
    """An EXIF block with texts in its own fields, those of the camera and of the place."""
    found = Image.Exif()
    for tag, place in _EXIF_TEXTS.items():
        found[tag] = text(f"{format} EXIF {place}")
    found[ExifTags.Base.Orientation] = 1
    # How Windows writes its titles, comments and authors: UTF-16.
    for tag in (ExifTags.Base.XPTitle, ExifTags.Base.XPComment, ExifTags.Base.XPAuthor):
        found[tag] = text(f"{format} EXIF {tag}").encode("utf-16-le")
    inner = found.get_ifd(ExifTags.IFD.Exif)
    inner[ExifTags.Base.UserComment] = b"ASCII\0\0\0" + text(f"{format} EXIF comment").encode()
    inner[ExifTags.Base.MakerNote] = text(f"{format} EXIF maker").encode()
    inner[ExifTags.Base.CameraOwnerName] = text(f"{format} EXIF owner")
    inner[ExifTags.Base.BodySerialNumber] = text(f"{format} EXIF serial")
    place = found.get_ifd(ExifTags.IFD.GPSInfo)
    place[ExifTags.GPS.GPSAreaInformation] = b"ASCII\0\0\0" + text(f"{format} GPS").encode()
    return found.tobytes()


def xmp(format):
    return (
        '<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
        f"<creator>{text(f'{format} XMP')}</creator></x:xmpmeta><?xpacket end='w'?>"
    ).encode()


def icc(format):
    """A sound profile with a text behind it; and the text where its description stands."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    words = "sRGB built-in".encode("utf-16-be")
    planted = text(format).encode("utf-16-be")[: len(words)]
    return profile.replace(words, planted.ljust(len(words), b"\0")) + text(f"{format} ICC").encode()


def iptc(format):
    """By-line and caption, as photo software writes them."""
    fields = b"".join(
        b"\x1c\x02" + bytes([number]) + struct.pack(">H", len(value)) + value
        for number, value in (
            (80, text(f"{format} IPTC byline").encode()),
            (120, text(f"{format} IPTC caption").encode()),
        )
    )
    return b"8BIM\x04\x04\0\0" + struct.pack(">I", len(fields)) + fields


def _write_png(path, array):
    chunks = PngImagePlugin.PngInfo()
    chunks.add_text("Author", text("PNG tEXt"))
    chunks.add_text("Comment", text("PNG zTXt"), zip=True)
    chunks.add_itxt("Title", text("PNG iTXt"), "en", "Title")
    chunks.add_itxt("XML:com.adobe.xmp", xmp("PNG").decode(), zip=True)
    chunks.add(b"prVt", text("PNG private chunk").encode())
    chunks.add(b"prVt", text("PNG chunk behind the pixels").encode(), after_idat=True)
    Image.fromarray(array).save(path, pnginfo=chunks, exif=exif("PNG"), icc_profile=icc("PNG"))
    _append(path, "PNG end")


def _write_jpeg(path, array):
    file = io.BytesIO()
    Image.fromarray(array).save(
        *(file, "JPEG"),
        **{"quality": 95, "comment": text("JPEG comment"), "exif": exif("JPEG")},
        **{"icc_profile": icc("JPEG"), "xmp": xmp("JPEG")},
    )
    segment = b"Photoshop 3.0\0" + iptc("JPEG")
    segment = b"\xff\xed" + struct.pack(">H", len(segment) + 2) + segment
    content = file.getvalue()
    path.write_bytes(content[:2] + segment + content[2:])
    _append(path, "JPEG end")


def _write_gif(path, array):
    Image.fromarray(array).convert("P").save(path, comment=text("GIF comment"))
    _append(path, "GIF end")


def _write_webp(path, array):
    Image.fromarray(array).save(
        *(path, "WEBP"),
        **{"lossless": True, "exif": exif("WebP"), "xmp": xmp("WebP"), "icc_profile": icc("WebP")},
    )


def _write_bmp(path, array):
    Image.fromarray(array).save(path)
    _append(path, "BMP end")


def _write_ppm(path, array):
    height, width = array.shape[:2]
    head = f"P6\n# {text('PPM comment')}\n{width} {height}\n# {text('PPM second')}\n255\n"
    path.write_bytes(head.encode() + array.tobytes())
    _append(path, "PPM end")


def _append(path, place):
    path.write_bytes(path.read_bytes() + text(place).encode())


# === TIFF ===


def _write_tiff(path, array):
    import tifffile

    fields = [
        (number, "s", 0, text(f"TIFF {place}"), True)
        for number, place in (
            *((269, "document"), (271, "make"), (272, "model"), (285, "page"), (315, "artist")),
            *((316, "host"), (33432, "copyright"), (65000, "private")),
        )
    ]
    for number, value in (
        (700, xmp("TIFF")),
        (33723, iptc("TIFF")),
        (34377, iptc("TIFF Photoshop")),
        (50839, text("TIFF ImageJ").encode()),
        (65001, text("TIFF private bytes").encode()),
    ):
        fields.append((number, "B", len(value), value, True))
    tifffile.imwrite(
        *(path, array),
        **{"photometric": "rgb", "description": text("TIFF description"), "metadata": None},
        **{"software": text("TIFF software"), "iccprofile": icc("TIFF"), "extratags": fields},
    )
    _append(path, "TIFF end")


def _write_tiff_with_pillow(path, array):
    fields = {
        tag: text(f"TIFF Pillow {place}")
        for tag, place in _EXIF_TEXTS.items()
        if tag != ExifTags.Base.DocumentName
    }
    Image.fromarray(array).save(
        path, tiffinfo=fields, exif=exif("TIFF Pillow"), icc_profile=icc("TIFF Pillow")
    )
    _append(path, "TIFF Pillow end")


def _write_tiff_of_imagej(path, array):
    import tifffile

    labels = {"Info": text("ImageJ info"), "Labels": [text("ImageJ label")]}
    tifffile.imwrite(path, array, imagej=True, photometric="rgb", metadata=labels)


# === DICOM ===


def dicom(array, **elements):
    """A pydicom dataset with texts in its preamble, its meta part and elements of all kinds."""
    import pydicom
    from pydicom.dataset import Dataset, FileDataset, FileMetaDataset

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    meta.MediaStorageSOPInstanceUID = f"1.2.3.{_number('instance')}"
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    meta.ImplementationClassUID = f"1.2.3.{_number('implementation')}"
    meta.ImplementationVersionName = text("meta")
    meta.SourceApplicationEntityTitle = text("AE")
    meta.PrivateInformationCreatorUID = "1.2.3.4"
    meta.PrivateInformation = text("DICOM meta private").encode()
    dataset = FileDataset(None, {}, file_meta=meta, preamble=text("DICOM preamble").encode())
    dataset.preamble = text("DICOM preamble").encode().ljust(128, b"\0")
    dataset.SOPClassUID = meta.MediaStorageSOPClassUID
    dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    for keyword in (
        *("PatientName", "PatientID", "OtherPatientNames", "PatientAddress", "PatientComments"),
        *("InstitutionName", "InstitutionAddress", "ReferringPhysicianName", "OperatorsName"),
        *("StationName", "DeviceSerialNumber", "Manufacturer", "ManufacturerModelName"),
        *("StudyDescription", "SeriesDescription", "ImageComments", "ProtocolName"),
        *("AccessionNumber", "StudyID", "DerivationDescription", "SoftwareVersions"),
        *("RequestingService", "AdditionalPatientHistory", "WindowCenterWidthExplanation"),
        *("TextString", "PixelPaddingDescription", "LUTExplanation"),
    ):
        if pydicom.datadict.tag_for_keyword(keyword) is not None:
            setattr(dataset, keyword, _short(keyword))
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
        setattr(dataset, keyword, f"1.2.3.{_number(keyword)}")
    dataset.PatientBirthDate, dataset.PatientAge = "19030201", "123Y"
    block = dataset.private_block(0x0011, text("DICOM creator"), create=True)
    block.add_new(1, "LO", text("DICOM private text"))
    block.add_new(2, "OB", text("DICOM private bytes").encode())
    block.add_new(3, "UN", text("DICOM private unknown").encode())
    inner = Dataset()
    inner.RequestedProcedureDescription = text("DICOM sequence")
    inner.PatientName = text("DICOM sequence name")
    dataset.RequestAttributesSequence = pydicom.Sequence([inner])
    dataset.add_new(0x60000010, "US", array.shape[0])
    dataset.add_new(0x60000011, "US", array.shape[1])
    dataset.add_new(0x60000022, "LO", text("DICOM overlay"))
    dataset.add_new(0x60001500, "LO", text("DICOM overlay label"))
    dataset.DataSetTrailingPadding = text("DICOM trailing padding").encode()
    dataset.Rows, dataset.Columns = array.shape[-2:]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 8 * array.dtype.itemsize
    dataset.HighBit, dataset.PixelRepresentation = dataset.BitsStored - 1, 0
    dataset.PixelData = array.tobytes()
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return dataset


def _short(keyword):
    """A text of at most 16 characters, the most that some elements take."""
    return f"{WORD}^{keyword.upper()}"[:16]


NUMBER = "7731700377"


def _number(place):
    """Digits that are planted in identifiers, which take nothing else."""
    return f"{NUMBER}{zlib.crc32(place.encode())}"


def _write_dicom(path, array):
    dicom(array).save_as(path)


def _write_dicom_of_jpeg(path, array):
    import pydicom

    file = io.BytesIO()
    comment = text("DICOM JPEG comment")
    Image.fromarray(array).save(file, "JPEG", quality=95, comment=comment, exif=exif("DICOM JPEG"))
    found = dicom(array)
    found.file_meta.TransferSyntaxUID = pydicom.uid.JPEGBaseline8Bit
    found.PixelData = pydicom.encaps.encapsulate([file.getvalue()])
    found["PixelData"].is_undefined_length = True
    found.save_as(path)


# === NIfTI ===


def nifti(array):
    import nibabel

    # Stored by columns; two slices.
    values = np.stack([array.T, array.T], axis=-1)
    image = nibabel.Nifti1Image(values, np.diag([2.0, 2.0, 3.0, 1.0]))
    header = image.header
    header["descrip"] = text("NIfTI description").encode()
    header["aux_file"] = text("NIfTI aux").encode()
    header["intent_name"] = text("NIfTI").encode()
    header["db_name"] = text("NIfTI db").encode()[:18]
    header["data_type"] = text("N").encode()[:10]
    for code, place in ((6, "comment"), (4, "AFNI"), (0, "unknown"), (44, "own")):
        content = text(f"NIfTI extension {place}").encode()
        header.extensions.append(nibabel.nifti1.Nifti1Extension(code, content))
    return image.to_bytes()


def _write_nifti(path, array):
    path.write_bytes(nifti(array) + text("NIfTI end").encode())


def _write_nifti_gzipped(path, array):
    content = gzip.compress(nifti(array))
    # The name and the comment of a gzip file, between its head of ten bytes and its content.
    names = b"".join(text(f"gzip {place}").encode() + b"\0" for place in ("name", "comment"))
    path.write_bytes(content[:3] + bytes([0x08 | 0x10]) + content[4:10] + names + content[10:])


# === The search ===


def found_in(content, words=(WORD, NUMBER)):
    """Where any of some words stands in bytes, in the ways in which texts are written.

    Whatever is compressed within (zip, gzip, zlib and xz streams) is searched too.

    Returns:
        list of str: the words with what surrounds them.
    """
    found = []
    for plain in _unpacked(content):
        folded = plain.lower()
        for word in words:
            for code in ("utf-8", "utf-16-le", "utf-16-be", "utf-32-le"):
                place = folded.find(word.lower().encode(code))
                if place >= 0:
                    found.append(f"{word!r} in {plain[max(place - 40, 0) : place + 80]!r}")
    return found


def _unpacked(content, depth=0):
    yield content
    if depth == 3:
        return
    if content[:2] == b"PK":
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for name in archive.namelist():
                yield name.encode()
                yield from _unpacked(archive.read(name), depth + 1)
    elif content[:6] == b"\xfd7zXZ\0":
        yield from _unpacked(lzma.decompress(content), depth + 1)
    elif content[:2] == b"\x1f\x8b":
        yield from _unpacked(gzip.decompress(content), depth + 1)
    elif content[:4] == b"\x89PNG":
        for start in _zlib_starts(content):
            yield zlib.decompressobj().decompress(content[start:])


def _zlib_starts(content):
    """Where a stream of zlib may begin in a PNG file: its texts and profiles, and its pixels."""
    for mark in (b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda"):
        start = content.find(mark)
        while start >= 0:
            try:
                zlib.decompressobj().decompress(content[start : start + 64])
            except zlib.error:
                pass
            else:
                yield start
            start = content.find(mark, start + 1)


def search(folder, words=(WORD, NUMBER), but=()):
    """The files below a folder that hold one of some words, in name or content.

    Args:
        folder: `pathlib.Path`.
        words: what is searched for.
        but: paths of inputs that hold the words.

    Returns:
        dict of path within the folder to what was found.
    """
    but = {Path(path).resolve() for path in but}
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.resolve() in but:
            continue
        name = path.relative_to(folder).as_posix()
        places = found_in(name.encode(), words)
        if path.is_file():
            places += found_in(path.read_bytes(), words)
        if places:
            found[name] = places
    return found
