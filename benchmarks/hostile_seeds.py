"""Small sound files of every kind that the package reads, and ways to damage them.

All is made here and seeded, so that a file is known by its kind and its number. Bytes are damaged
as a bad disk would, and the fields that readers trust as someone would who means it: tags, lengths,
counts and types of TIFF, chunks of PNG with their checksum put right, header fields of NIfTI below
its compression, elements of DICOM, values of JSON, YAML and CSV. No fuzzing library is used:
hypothesis shrinks Python values, which files are not, and atheris learns from the branches of
instrumented code, which the C libraries that decode images are not.
"""

import functools
import gzip
import io
import json
import random
import re
import struct
import zipfile
import zlib

import numpy as np
from PIL import Image

IMAGES = ("PNG", "JPEG", "BMP, GIF, PPM, WebP", "TIFF", "DICOM", "NIfTI")
INTERESTING = (
    *(0, 1, 2, 3, 4, 7, 8, 16, 32, 64, 127, 128, 255, 256, 1000, 4096, 32767, 32768, 65535, 65536),
    *(10**6, 2**24, 10**9, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1),
)
VALUES = (
    *(None, True, False, 0, -1, 1, 2, 0.5, -0.0, 1e308, 10**6, 10**9, 10**30, 2**63, "", "a"),
    *(float("nan"), float("inf"), -float("inf"), "nan", "\x1b[31mred\x1b[0m", "a\nb", "=1+1"),
    *("a" * 10_000, "\u202egnp", "../../x", "/etc/passwd", [], {}, [0], [[[]]], {"a": {}}),
    *([10**9, 10**9], [0, 0], ["a", "a"], {"class_name": "Lambda"}, list(range(1000))),
)


# === Sound files ===


def image_seeds():
    """dict of format to a list of sound files, bytes; those of libraries that are installed."""
    grey = np.random.default_rng(0).integers(0, 60, (24, 32), dtype=np.uint8)
    grey[6:18, 8:24] += 150
    rgb = np.stack([grey, grey[::-1], grey[:, ::-1]], axis=-1)
    deep = grey.astype(np.uint16) * 200
    seeds = {
        "PNG": [
            _saved(grey, "PNG"),
            _saved(rgb, "PNG"),
            _saved(deep, "PNG"),
            _saved(Image.fromarray(rgb).quantize(16), "PNG", transparency=3),
            _saved(Image.fromarray(grey > 99), "PNG"),
            _saved(rgb, "PNG", save_all=True, append_images=[Image.fromarray(rgb[::-1])]),
            _deep_png(rgb),
        ],
        "JPEG": [
            _saved(grey, "JPEG"),
            _saved(rgb, "JPEG", exif=_exif()),
            _saved(rgb, "JPEG", progressive=True, subsampling=0),
            _saved(Image.fromarray(rgb).convert("CMYK"), "JPEG"),
            _saved(rgb, "MPO", save_all=True, append_images=[Image.fromarray(rgb[::-1])]),
        ],
        "BMP, GIF, PPM, WebP": [
            _saved(rgb, "BMP"),
            _saved(Image.fromarray(rgb).quantize(16), "BMP"),
            _saved(grey, "GIF", save_all=True, append_images=[Image.fromarray(grey[::-1])]),
            _saved(rgb, "PPM"),
            _saved(grey, "PPM"),
            b"P3\n# plain\n4 3\n300\n" + b"0 100 300  " * 12,
            b"Pf\n4 3\n-1.0\n" + np.linspace(0, 1, 12, dtype="<f4").tobytes(),
            _saved(rgb, "WEBP", lossless=True),
            _saved(rgb, "WEBP", save_all=True, append_images=[Image.fromarray(rgb[::-1])]),
        ],
    }
    for name, make in (("TIFF", _tiffs), ("DICOM", _dicoms), ("NIfTI", _niftis)):
        try:
            seeds[name] = make(grey, rgb, deep)
        except ImportError:  # without the extra "medical"
            continue
    return seeds


def _saved(image, format, **options):
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    content = io.BytesIO()
    image.save(content, format, **options)
    return content.getvalue()


def _exif():
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010E] = "a description"
    return exif


def _deep_png(rgb):
    """Colours of 16 bits, which Pillow does not write."""
    rows = (rgb.astype(">u2") * 257).reshape(len(rgb), -1)
    data = b"".join(b"\0" + row.tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", rgb.shape[1], len(rgb), 16, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"tEXt", b"Comment\0hello"), (b"IDAT", zlib.compress(data))]
    return _png([*chunks, (b"IEND", b"")])


def _png(chunks):
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )


def _tiffs(grey, rgb, deep):
    import tifffile

    def made(array, **options):
        content = io.BytesIO()
        tifffile.imwrite(content, array, **options)
        return content.getvalue()

    return [
        made(grey, photometric="minisblack"),
        made(rgb, photometric="rgb", rowsperstrip=5),
        made(deep, photometric="miniswhite", byteorder=">"),
        made(np.stack([deep] * 3), photometric="minisblack"),
        made(grey, bigtiff=True, tile=(16, 16), photometric="minisblack"),
        made(grey.astype(np.float32) / 255, photometric="minisblack"),
        made(np.moveaxis(rgb, -1, 0), photometric="rgb", planarconfig="separate"),
        made(rgb, photometric="rgb", compression="zlib", predictor=True),
        *(_saved(rgb, "TIFF", compression=c) for c in ("tiff_lzw", "jpeg", "packbits")),
        _saved(Image.fromarray(grey > 99), "TIFF", compression="group4"),
        _saved(Image.fromarray(rgb).convert("CMYK"), "TIFF", compression="tiff_adobe_deflate"),
        _saved(Image.fromarray(rgb).quantize(16), "TIFF"),
        _saved(Image.fromarray(rgb).convert("YCbCr"), "TIFF", compression="jpeg"),
    ]


def _dicoms(grey, rgb, deep):
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.encaps import encapsulate
    from pydicom.uid import (
        DeflatedExplicitVRLittleEndian,
        ExplicitVRLittleEndian,
        ImplicitVRLittleEndian,
        JPEGBaseline8Bit,
        RLELossless,
        SecondaryCaptureImageStorage,
    )

    def made(array, syntax=ExplicitVRLittleEndian, frames=1, encoded=None, **fields):
        data = Dataset()
        data.file_meta = FileMetaDataset()
        packed = syntax == RLELossless
        data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian if packed else syntax
        data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
        data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4"
        colour = array.shape[-1] == 3
        data.Rows, data.Columns = array.shape[-3:-1] if colour else array.shape[-2:]
        data.SamplesPerPixel = 3 if colour else 1
        if colour:
            data.PlanarConfiguration = 0
        data.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
        data.BitsAllocated = data.BitsStored = 8 * array.dtype.itemsize
        data.HighBit = data.BitsStored - 1
        data.PixelRepresentation = 0
        if frames > 1:
            data.NumberOfFrames = frames
        data.PixelData = array.tobytes() if encoded is None else encapsulate(encoded)
        data["PixelData"].VR = "OB" if array.dtype == np.uint8 or encoded else "OW"
        for name, value in fields.items():
            setattr(data, name, value)
        if packed:
            data.compress(RLELossless)
        content = io.BytesIO()
        data.save_as(content, enforce_file_format=True)
        return content.getvalue()

    table = Dataset()
    table.LUTDescriptor = [256, 0, 16]
    table.LUTData = (np.arange(256, dtype="<u2") * 257).tobytes()
    palette = {f"{c}PaletteColorLookupTableDescriptor": [256, 0, 16] for c in _COLOURS}
    palette |= {
        f"{c}PaletteColorLookupTableData": np.arange(256, dtype="<u2").tobytes() for c in _COLOURS
    }
    frames = np.stack([deep, deep[::-1]])
    return [
        made(grey),
        made(deep, WindowCenter=20000, WindowWidth=30000, RescaleSlope=2, RescaleIntercept=-1),
        made(deep, ImplicitVRLittleEndian, PixelPaddingValue=0),
        made(frames, frames=2),
        made(frames, RLELossless, frames=2),
        made(rgb),
        made(grey, DeflatedExplicitVRLittleEndian, VOILUTSequence=[table]),
        made(grey, PhotometricInterpretation="PALETTE COLOR", **palette),
        made(grey, JPEGBaseline8Bit, encoded=[_saved(grey, "JPEG")]),
    ]


_COLOURS = ("Red", "Green", "Blue")


def _niftis(grey, rgb, deep):
    import nibabel

    def made(array, kind=nibabel.Nifti1Image, scale=None, packed=False, affine=None):
        image = kind(array, np.diag([1.0, 2, 3, 1]) if affine is None else affine)
        if scale:
            image.header.set_slope_inter(*scale)
        content = image.to_bytes()
        return gzip.compress(content) if packed else content

    volume = np.stack([deep.astype(np.int16)] * 3, axis=-1)
    turned = np.array([[0, -1.0, 0, 5], [0, 0, 2, 6], [3, 0, 0, 7], [0, 0, 0, 1]])
    colours = np.zeros(volume.shape, np.dtype([(c, "u1") for c in "RGB"]))
    for i, channel in enumerate("RGB"):
        colours[channel] = np.stack([rgb[..., i]] * 3, axis=-1)
    return [
        made(volume),
        made(volume, packed=True, affine=turned),
        made(volume.astype(np.float32), scale=(2.0, 1.0)),
        made(volume, nibabel.Nifti2Image, packed=True),
        made(np.stack([volume] * 2, axis=-1).astype(np.uint8)),
        made(colours),
    ]


@functools.cache
def sound_files(kind):
    """Sound files of a kind, a list of bytes; `None` where what makes them is not installed."""
    try:
        if kind in IMAGES:
            return image_seeds().get(kind)
        if kind.startswith("preset: "):
            return [_preset_seeds()[kind.removeprefix("preset: ")]]
        return _SOUND[kind]()
    except ImportError:
        return None


@functools.cache
def _preset_seeds():
    import hostile_models

    return hostile_models.preset_seeds()


def _of_models(name, *keys):
    def make():
        import hostile_models

        found = getattr(hostile_models, name)()
        return [found[key] for key in keys] if keys else found

    return make


_INDEXES = [
    b"split,modality,dataset,image,mask\ntrain,xray,lungs,a.png,a.png\nval,xray,lungs,a.png,a.png\n",
    b"\xef\xbb\xbfsplit,modality,dataset,image,mask,group,intensity\n"
    b'test,fundus,eyes,"a.png",a.png,p1,0:4095\ntest,fundus,eyes,a.png,a.png,p2,auto\n',
]
_CONFIGURATIONS = [
    """output: runs/first
seed: 3
model:
  preset: espmedsam_nano_256
data:
  sources:
    - index: index.csv
phases:
  - epochs: 2
""",
    """output: runs/second
precision: float32
model:
  modalities: [xray, fundus]
  encoder:
    kind: tic
    hidden_dims: [16]
    depths: [1]
    num_heads: [1]
data:
  sources:
    - folder: data
      modality: xray
phases:
  - epochs: 1
""",
]
_DISTILLATION = """output: runs/third
image_size: 64
student:
  modalities: [xray, fundus]
  encoder:
    kind: tiny_vit
    hidden_dims: [8, 8, 16, 16]
    depths: [1, 1, 1, 1]
    num_heads: [1, 2, 2]
common_teachers:
  - name: sam
    preset: espmedsam_tinyvit_1024
medical_teacher:
  preset: espmedsam_tinyvit_1024
common_data:
  sources:
    - folder: data
data:
  sources:
    - folder: data
      modality: xray
phases:
  - phase: common
    epochs: 1
    losses:
      - loss: mse
        teacher: sam
  - phase: teacher
    batch_size: 2
  - phase: controllers
"""


def _checkpoints():
    import safetensors.numpy
    import torch

    tensors = {"encoder.weight": np.ones((3, 4), "float32"), "encoder.bias": np.zeros(3, "float32")}
    whole = io.BytesIO()
    torch.save({"model": {name: torch.tensor(one) for name, one in tensors.items()}}, whole)
    old = io.BytesIO()
    torch.save(
        {name: torch.tensor(one) for name, one in tensors.items()},
        old,
        _use_new_zipfile_serialization=False,
    )
    return [whole.getvalue(), old.getvalue(), safetensors.numpy.save(tensors)]


_SOUND = {
    "index": lambda: _INDEXES,
    "configuration of training": lambda: [one.encode() for one in _CONFIGURATIONS],
    "configuration of distillation": lambda: [_DISTILLATION.encode()],
    "checkpoint": _checkpoints,
    "adapters": _of_models("adapter_seeds"),
    "state of a run": _of_models("run_seeds", "state.npz"),
    "weights of a run": _of_models("run_seeds", "best.weights.h5"),
    "artefact: description": _of_models("description_seeds"),
    "artefact: ONNX": _of_models("onnx_seeds"),
}


# === Damage ===


_GONE = (
    *(ValueError, IndexError, KeyError, EOFError, OSError, RuntimeError, NotImplementedError),
    *(struct.error, zlib.error, zipfile.BadZipFile),
)


def damaged(kind, seeds, number, seed=0):
    """The file of a kind with a number: one of the seeds, damaged in one to four places.

    Args:
        kind: str. As in `image_seeds`, or `"JSON"`, `"YAML"` or `"CSV"`.
        seeds: list of bytes.
        number: int.
        seed: int.

    Returns:
        bytes, never empty.
    """
    rng = random.Random(f"{seed} {kind} {number}")
    content = rng.choice(seeds)
    own = _OWN.get(kind)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        way = own if own and rng.random() < 0.6 else rng.choice(_ANY)
        try:
            content = way(content, rng, seeds) or content
        except _GONE:
            content = _flipped(content, rng, seeds)  # the structure is gone already
    return content or b"\0"


def _place(content, rng):
    """More often in the first bytes, where headers are."""
    return rng.randrange(min(len(content), rng.choice((64, 512, len(content)))))


def _flipped(content, rng, _):
    content = bytearray(content)
    for _ in range(rng.choice((1, 2, 8))):
        content[_place(content, rng)] ^= 1 << rng.randrange(8)
    return bytes(content)


def _number_put_in(content, rng, _):
    size = rng.choice((1, 2, 4, 8))
    value = rng.choice(INTERESTING) % 2 ** (8 * size)
    at = _place(content, rng)
    number = value.to_bytes(size, rng.choice(("little", "big")))
    return content[:at] + number + content[at + size :]


def _cut(content, rng, _):
    return content[: rng.randrange(1, len(content))]


def _part_left_out(content, rng, _):
    at = _place(content, rng)
    return content[:at] + content[at + rng.choice((1, 2, 4, 16, 100)) :]


def _part_repeated(content, rng, _):
    at = _place(content, rng)
    part = content[at : at + rng.choice((1, 4, 64, 1000))]
    return content[:at] + part * rng.choice((2, 3, 50)) + content[at:]


def _noise_put_in(content, rng, _):
    at, size = _place(content, rng), rng.choice((1, 4, 32, 256))
    return content[:at] + rng.randbytes(size) + content[at + rng.choice((0, size)) :]


def _joined(content, rng, seeds):
    other = rng.choice(seeds)
    return content[: rng.randrange(1, len(content))] + other[rng.randrange(len(other)) :]


_ANY = (_flipped, _number_put_in, _cut, _part_left_out, _part_repeated, _noise_put_in, _joined)


def _png_chunk(content, rng, _):
    """Change a chunk, and put its checksum right."""
    chunks, at = [], 8
    while at < len(content):
        (size,) = struct.unpack_from(">I", content, at)
        chunks.append([content[at + 4 : at + 8], content[at + 8 : at + 8 + size]])
        at += 12 + size
    chosen = rng.randrange(len(chunks))
    way = rng.randrange(4)
    if way == 0:
        chunks.insert(rng.randrange(len(chunks)), list(chunks[chosen]))
    elif way == 1:
        del chunks[chosen]
    elif way == 2:
        name = rng.choice((b"zTXt", b"iCCP", b"tEXt", b"acTL", b"fcTL", b"fdAT", b"PLTE", b"eXIf"))
        chunks.insert(1, [name, b"a\0\0" + zlib.compress(bytes(rng.choice((10, 10**7))))])
    elif chunks[chosen][1]:
        chunks[chosen][1] = _number_put_in(chunks[chosen][1], rng, None)
    return _png(chunks)


def _tiff_entry(content, rng, _):
    """Change the tag, type, count or value of an entry, or where the next page is."""
    order = "<" if content[:2] == b"II" else ">"
    big = struct.unpack_from(order + "H", content, 2)[0] == 43
    word, entry = ("Q", 20) if big else ("I", 12)
    (at,) = struct.unpack_from(order + word, content, 8 if big else 4)
    (count,) = struct.unpack_from(order + ("Q" if big else "H"), content, at)
    start = at + (8 if big else 2)
    content = bytearray(content)
    if rng.random() < 0.1:  # the next page is this one, or anywhere
        to = rng.choice((at, rng.randrange(len(content)), 2**31))
        struct.pack_into(order + word, content, start + count * entry, to)
        return bytes(content)
    place = start + rng.randrange(count) * entry
    field = rng.randrange(4)
    if field == 0:
        struct.pack_into(order + "H", content, place, rng.choice((256, 257, 258, 273, 279, 322)))
    elif field == 1:
        struct.pack_into(order + "H", content, place + 2, rng.randrange(20))
    else:
        value = rng.choice(INTERESTING) % 2 ** (64 if big else 32)
        place += 4 if field == 2 else entry // 2 + 2
        struct.pack_into(order + word, content, place, value)
    return bytes(content)


def _nifti_field(content, rng, _):
    """Change a field of the header, below the compression."""
    packed = content[:2] == b"\x1f\x8b"
    data = bytearray(gzip.decompress(content) if packed else content)
    at = rng.choice((0, 40, 42, 44, 46, 48, 70, 72, 76, 80, 108, 112, 116, 252, 254, 256, 280, 300))
    at += rng.choice((0, 0, 0, 4, 8))
    if rng.random() < 0.5:
        struct.pack_into("<f", data, at, rng.choice((0.0, -1.0, 1e30, np.nan, np.inf, 1e-30)))
    else:
        struct.pack_into("<h", data, at, rng.choice((0, -1, 1, 2, 128, 1792, 32767, 511, 2304)))
    return gzip.compress(bytes(data)) if packed else bytes(data)


def _dicom_element(content, rng, _):
    """Change an element's length, type or value."""
    tags = [b"\x28\0" + bytes([n, 0]) for n in (2, 4, 8, 16, 17)]
    tags += [b"\x28\0" + bytes([n, 1]) for n in (0, 1, 2, 3)]
    tags += [b"\x28\0\x50\x10", b"\x28\0\x51\x10", b"\x28\0\x53\x10", b"\xe0\x7f\x10\0"]
    tags += [b"\x02\0\x10\0", b"\xfe\xff\0\xe0"]
    found = [at for tag in tags if (at := content.find(tag, 128)) >= 0]
    at = rng.choice(found)
    data = bytearray(content)
    where = at + rng.choice((4, 6, 8, 8, 8, 12))
    if where == at + 4:
        data[where : where + 2] = rng.choice((b"US", b"OB", b"SQ", b"UN", b"DS", b"IS", b"FD"))
    else:
        value = rng.choice(INTERESTING) % 65536 if rng.random() < 0.7 else rng.randrange(65536)
        struct.pack_into("<H", data, where, value)
    return bytes(data)


def _json_value(content, rng, _):
    """Put another value in the place of one, or leave it out, at any depth."""
    tree = json.loads(content)
    holder, key = rng.choice(list(_places(tree)))
    if rng.random() < 0.15:
        del holder[key]
    elif rng.random() < 0.1 and isinstance(holder, dict):
        holder[str(rng.choice(VALUES))] = holder.pop(key)
    else:
        holder[key] = rng.choice(VALUES)
    return json.dumps(tree).encode()


def _places(tree):
    pairs = tree.items() if isinstance(tree, dict) else enumerate(tree)
    for key, value in list(pairs):
        yield tree, key
        if isinstance(value, dict | list):
            yield from _places(value)


def _yaml_line(content, rng, _):
    lines = content.decode().splitlines()
    at = rng.randrange(len(lines))
    name, colon, _ = lines[at].partition(":")
    value = rng.choice(
        (
            *("2024-01-01", "!!python/object:os.system {}", "&a [*a]", "*b", "{a: {a: {}}}", "'"),
            *("[" * 500, "0x" + "f" * 5000, ".nan", "1e999", "yes", "~", "\x1b[31m", "- a", "<<:"),
            *(str(rng.choice(VALUES)), str(rng.choice(INTERESTING))),
        )
    )
    lines[at] = f"{name}{colon} {value}" if rng.random() < 0.8 else f"{lines[at]}\n{name}: {value}"
    return "\n".join(lines).encode()


def _csv_cell(content, rng, _):
    rows = [line.split(",") for line in content.decode().splitlines()]
    row = rng.choice(rows)
    value = str(rng.choice(VALUES)) if rng.random() < 0.8 else '"'
    row[rng.randrange(len(row))] = value
    return "\n".join(",".join(row) for row in rows).encode()


def _hdf5_structure(content, rng, seeds):
    """Damage what says where arrays lie and what they are, and not their numbers."""
    signatures = (b"TREE", b"SNOD", b"HEAP", b"\x89HDF")
    name = rng.choice([one for one in signatures if one in content])
    places = [found.start() for found in re.finditer(re.escape(name), content)]
    at = max(0, rng.choice(places) - rng.choice((0, 0, 300)))
    part = content[at : at + 600]
    way = rng.choice((_flipped, _number_put_in, _noise_put_in))
    return content[:at] + way(part, rng, seeds)[: len(part)] + content[at + 600 :]


def _archive_member(content, rng, seeds):
    """Damage a file within a zip archive, and put its checksum right."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {one.filename: archive.read(one) for one in archive.infolist()}
    name = rng.choice(list(members))
    if rng.random() < 0.1:
        del members[name]
    else:
        way = rng.choice(
            (_flipped, _number_put_in, _cut, _noise_put_in, _part_left_out, _json_part)
        )
        members[name] = way(members[name], rng, seeds)
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", rng.choice((0, 0, zipfile.ZIP_DEFLATED))) as archive:
        for one, data in members.items():
            archive.writestr(zipfile.ZipInfo(one), data)
    return made.getvalue()


def _json_part(content, rng, seeds):
    """Another value in JSON that stands alone, or somewhere in other bytes."""
    start, end = content.index(b"{"), content.rindex(b"}") + 1
    return content[:start] + _json_value(content[start:end], rng, seeds) + content[end:]


def _checkpoint_part(content, rng, seeds):
    """Of an archive a member; the header of safetensors, with its length put right."""
    if content[:2] == b"PK":
        return _archive_member(content, rng, seeds)
    (size,) = struct.unpack_from("<Q", content)
    if size > len(content):  # an old pickle
        return _number_put_in(content, rng, seeds)
    header = _json_value(content[8 : 8 + size], rng, seeds)
    return struct.pack("<Q", len(header)) + header + content[8 + size :]


_OWN = {
    "HDF5": _hdf5_structure,
    "archive": _archive_member,
    "checkpoint": _checkpoint_part,
    "PNG": _png_chunk,
    "TIFF": _tiff_entry,
    "NIfTI": _nifti_field,
    "DICOM": _dicom_element,
    "JSON": _json_value,
    "YAML": _yaml_line,
    "CSV": _csv_cell,
}

DAMAGE = {
    "index": "CSV",
    "configuration of training": "YAML",
    "configuration of distillation": "YAML",
    "adapters": "HDF5",
    "state of a run": "archive",
    "weights of a run": "HDF5",
    "preset: model.weights.h5": "HDF5",
    "artefact: description": "JSON",
    **{
        f"preset: {name}.json": "JSON"
        for name in ("config", "task", "preprocessor", "image_converter")
    },
}
"""How kinds are damaged that have no way of their own."""
