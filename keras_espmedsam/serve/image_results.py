"""The results of an uploaded image, as JSON, PNG, NIfTI or ZIP."""

import contextlib
import dataclasses
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from keras_espmedsam.data.formats.file_kind import file_kind
from keras_espmedsam.data.images import ImageFile, inspect_image_file
from keras_espmedsam.data.object_counts import count_objects
from keras_espmedsam.errors import InputError
from keras_espmedsam.inference import (
    DicomOptions,
    FileResult,
    ResultWriter,
    model_identity,
    segment_files,
)
from keras_espmedsam.inference.recognition import AUTO
from keras_espmedsam.inference.result_names import COCO_FILE
from keras_espmedsam.serve.problems import Problem, without_path
from keras_espmedsam.serve.segment_query import SegmentQuery
from keras_espmedsam.serve.settings import ServerSettings

_GZIP_SIGNATURE = b"\x1f\x8b"
_ZIP = "application/zip"
# Those of `count_objects` that a mask has; the others say which mask it is.
_MEASURES = (
    *("objects", "area_pixels", "area_share", "area_mm2"),
    *("mean_area_pixels", "median_area_pixels", "mean_area_mm2", "median_area_mm2"),
)


@dataclasses.dataclass(frozen=True)
class Answer:
    """The body of an answer.

    Args:
        content: the bytes.
        media_type: their type.
        images: the number of segmented images.
    """

    content: bytes
    media_type: str
    images: int


def segment_upload(
    path: Path,
    segmenter: Any,
    recognizer: Any,
    query: SegmentQuery,
    settings: ServerSettings,
    name: str,
    source: str | None = None,
) -> Answer:
    """Segment the images of an uploaded file, like `espmedsam segment`.

    Args:
        path: the file. Its name is not used, and results are written next to it.
        segmenter: the segmenter.
        recognizer: the recogniser of modalities, or None.
        query: what is asked for.
        settings: the server's limits.
        name: the model's name, for the answer.
        source: the preset or path of the model, for DICOM objects.

    Raises:
        InputError: for a file, or a query, that cannot be used.
    """
    query.check()
    try:
        path = _named_by_content(path)
        return _segmented(path, segmenter, recognizer, query, settings, name, source)
    except InputError as error:
        raise InputError(without_path(str(error), path)) from None


def _segmented(path, segmenter, recognizer, query, settings, name, source):
    check_recognizer(segmenter, recognizer, query.modality)
    file = inspect_image_file(path, settings.max_pixels)
    _check_output(query, file)
    results = segment_files(
        segmenter,
        [file],
        query.modality,
        recognizer=recognizer,
        batch_size=settings.batch_size,
        **query.options(),
    )
    folder = path.parent / "results"
    dicom = _dicom_options(query, source)
    writer = ResultWriter(folder, [path], polygons=query.outlines, dicom=dicom)
    content: dict[str, Any] = {"model": name, "images": []}
    masks: dict[Path, None] = {}
    for result in results:
        if result.error is not None:
            raise result.error
        if query.output in ("png", "nifti") and len(result.targets) > 1:
            raise InputError(
                f"Received output={query.output} for the targets {', '.join(result.targets)}; give "
                "target, one of them, or output=zip for all."
            )
        if query.output != "json" or query.outlines is not None:
            with _disk():
                writer.write(result)
        known = result.known_targets or result.targets
        masks |= dict.fromkeys(writer.mask_paths(file, known, result.targets))
        content["images"].append(described_image(result))
        if query.outlines == "geojson" and query.output == "json":
            (outlines,) = folder.glob("*.geojson")
            content["images"][-1]["geojson"] = _json_of(outlines)
            outlines.unlink()  # The next image has another name.
    with _disk():
        writer.finish()
    if query.outlines == "coco" and query.output == "json":
        content["coco"] = _json_of(folder / COCO_FILE)
    images = len(content["images"])
    if query.output == "json":
        return Answer(_encoded(content), "application/json", images)
    if query.output == "zip":
        return Answer(_zipped(folder, content), _ZIP, images)
    if dicom is not None:
        (segmentation,) = folder.glob("*_seg.dcm")
        return Answer(segmentation.read_bytes(), "application/dicom", images)
    (mask,) = masks
    kind = "image/png" if query.output == "png" else "application/octet-stream"
    return Answer(mask.read_bytes(), kind, images)


def _dicom_options(query: SegmentQuery, source: str | None) -> DicomOptions | None:
    if query.output != "dicom-seg":
        return None
    if source is None:
        raise InputError(
            "Received output=dicom-seg, but the server was not told where its model is from, which "
            "the segmentation has to say; give ServedModel a source, or use espmedsam serve."
        )
    return DicomOptions(model_identity(source, query.options()))


def check_recognizer(segmenter: Any, recognizer: Any, modality: str | None) -> None:
    """Check that a modality that is to be recognised can be.

    Args:
        segmenter: the segmenter.
        recognizer: the recogniser of modalities, or None.
        modality: what the request gave.

    Raises:
        InputError: when there is no recogniser, and one is needed.
    """
    if recognizer is None and modality in (None, AUTO) and len(segmenter.modalities) > 1:
        raise InputError(
            "The server has no recogniser of modalities; give modality, one of: "
            f"{', '.join(segmenter.modalities)}."
        )


def _check_output(query: SegmentQuery, file: ImageFile) -> None:
    """Refuse a form of output that a file cannot have."""
    if query.output == "nifti" and not file.one_mask_file:
        raise InputError(
            "Received output=nifti for an image that is no NIfTI file; only such a file has a "
            "NIfTI mask, so give output=png or output=zip."
        )
    if query.output == "dicom-seg" and file.format.name != "DICOM":
        raise InputError(
            "Received output=dicom-seg for an image that is no DICOM file; only such a file has a "
            "patient and a study, so give another output."
        )
    if query.output == "png" and (file.one_mask_file or file.count > 1):
        raise InputError(
            f"Received output=png for a file with {file.count} {file.format.image_word}s; a PNG "
            "holds one mask, so give output=zip"
            + (" or output=nifti." if file.one_mask_file else ".")
        )


def described_image(result: FileResult) -> dict[str, Any]:
    """Return what JSON says about an image.

    Args:
        result: of `segment_files`, without an error.
    """
    assert result.image is not None and result.index is not None  # There was no error.
    height, width = result.image.size
    objects = {**result.masks, **result.instances}
    rows = count_objects("", objects, result.image)
    targets = [
        {
            "target": row["target"],
            **{name: row[name] for name in _MEASURES},
            "predicted_dice": result.quality.get(row["target"]),
        }
        for row in rows
    ]
    return {
        "number": result.index + 1,
        "width": width,
        "height": height,
        "modality": result.modality,
        "confidence": result.confidence,
        "blank": result.blank,
        "in_scope": result.in_scope,
        "scope_score": None if result.scope_score is None else float(result.scope_score),
        "notices": list(result.notices),
        "targets": targets,
    }


@contextlib.contextmanager
def _disk() -> Iterator[None]:
    """Tell a full disk from input that cannot be used."""
    try:
        yield
    except InputError as error:
        if not isinstance(error.__cause__, OSError):
            raise
        sentence = "The server cannot keep the results of the image; its disk may be full."
        raise Problem(503, sentence, {"Retry-After": "10"}) from error


def _named_by_content(path: Path) -> Path:
    """Name a gzipped volume so that its masks are gzipped too; clients send no name."""
    format = file_kind(path).format
    with path.open("rb") as file:
        gzipped = file.read(2) == _GZIP_SIGNATURE
    suffixes = [one for one in format.mask_suffixes if one.endswith(".gz")] if format else []
    if not gzipped or not suffixes:
        return path
    return path.rename(path.with_name(f"{path.name}{suffixes[0]}"))


def _zipped(folder: Path, content: Any) -> bytes:
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for one in sorted(folder.iterdir()):
            archive.write(one, one.name)
        archive.writestr("result.json", _encoded(content))
    return path.read_bytes()


def _json_of(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _encoded(content: Any) -> bytes:
    return json.dumps(content, allow_nan=False).encode()
