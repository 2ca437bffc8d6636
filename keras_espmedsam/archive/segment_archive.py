"""Segment the images of a DICOM archive, and give the results back to it."""

import dataclasses
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from keras_espmedsam.archive.dicomweb import DicomWebArchive, Instance
from keras_espmedsam.archive.segment_file import FileSegmenter
from keras_espmedsam.errors import InputError, NoImageError

_OBJECT = ".dcm"  # The suffix of DICOM objects among the results.


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of an instance of an archive.

    Args:
        instance: the instance.
        written: the files that were written and kept.
        stored: how many objects the archive took.
        there: whether its results were there already, so that nothing was done.
        no_image: whether it holds no image.
        error: why it has no results; None if it has.
    """

    instance: Instance
    written: tuple[Path, ...] = ()
    stored: int = 0
    there: bool = False
    no_image: bool = False
    error: InputError | None = None

    @property
    def state(self) -> str:
        """`"failed"`, `"there"`, `"no_image"` or `"done"`."""
        if self.error is not None:
            return "failed"
        return "there" if self.there else "no_image" if self.no_image else "done"


def segment_archive(
    archive: DicomWebArchive,
    instances: Iterable[Instance],
    segmenter: FileSegmenter,
    output: Path | None = None,
    store: bool = False,
    overwrite: bool = False,
) -> Iterator[Outcome]:
    """Fetch images from an archive, segment them, and store or keep the results.

    The UIDs of results depend on model, options and image, so that those that the archive has are
    known before anything is fetched, and nothing is stored twice. An image that fails does not end
    the others.

    Args:
        archive: the archive.
        instances: which of its instances, from `archive.find`. What their modality says to be no
            image is passed over.
        segmenter: what segments them; with DICOM objects, to be stored.
        output: the folder where results are kept, named after the UIDs of their images; None to
            keep none.
        store: whether DICOM objects are stored in the archive.
        overwrite: whether files of an earlier run are replaced. Otherwise they count as done.

    Yields:
        `Outcome` of each instance that may be an image.

    Raises:
        InputError: without a folder and without `store`, and when the archive cannot be searched.
    """
    if output is None and not store:
        raise InputError(
            "Received neither a folder nor the wish to store the results; give --output or --store."
        )
    if store and segmenter.dicom is None:
        raise InputError("Received store without DICOM options; give DicomOptions, to be stored.")
    known: dict[str, set[str]] = {}
    for instance in instances:
        if not instance.may_be_image:
            continue
        try:
            if store and instance.study not in known:
                known[instance.study] = {one.uid for one in archive.find(instance.study)}
            stored = not store or segmenter.is_done(instance.uid, known[instance.study])
            kept = output is None or (not overwrite and any(output.glob(f"{instance.uid}_*")))
            if stored and kept:
                yield Outcome(instance, there=True)
                continue
            yield _segmented(archive, instance, segmenter, output, store and not stored)
        except NoImageError:
            yield Outcome(instance, no_image=True)
        except InputError as error:
            yield Outcome(instance, error=error)


def _segmented(
    archive: DicomWebArchive,
    instance: Instance,
    segmenter: FileSegmenter,
    output: Path | None,
    store: bool,
) -> Outcome:
    with tempfile.TemporaryDirectory(prefix="espmedsam-") as name:
        folder = Path(name)
        path = folder / f"{instance.uid}.dcm"
        try:
            archive.fetch(instance, path)
            written = segmenter.segment(path, output or folder / "results", overwrite=True)
        except NoImageError:
            raise
        except InputError as error:  # The temporary path says nothing to the user.
            raise InputError(str(error).replace(str(path), instance.uid)) from None
        objects = [one for one in written if one.suffix == _OBJECT]
        if store:
            archive.store(objects)
    kept = tuple(written) if output else ()
    return Outcome(instance, kept, len(objects) if store else 0)
