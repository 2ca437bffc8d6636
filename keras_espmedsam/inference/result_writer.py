"""Write masks, objects and overlays of many files to one folder."""

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from keras_espmedsam._files import check_writable, remove_leftovers
from keras_espmedsam.data.images import ImageFile
from keras_espmedsam.data.label_images import label_suffix, write_labels
from keras_espmedsam.data.masks import write_mask
from keras_espmedsam.data.targets import UNNAMED, Targets
from keras_espmedsam.errors import InputError
from keras_espmedsam.imaging.overlay import write_overlay
from keras_espmedsam.inference.chosen_targets import checked_targets, choose_targets
from keras_espmedsam.inference.dicom_files import DicomFiles, DicomOptions
from keras_espmedsam.inference.file_result import FileResult
from keras_espmedsam.inference.object_files import ObjectFiles
from keras_espmedsam.inference.result_names import ResultNames

# A PNG file has 16 bits.
_MOST_IN_PNG = 2**16 - 1


class ResultWriter:
    """Write the results of `segment_files` to a folder.

    A mask is OUTPUT/NAME_mask.png (0 and 255), with the size and orientation of the stored image;
    with several targets, OUTPUT/NAME_vessels_mask.png for each. A file with several images gives
    one for each (NAME_frame1_mask.png). A NIfTI file gives one NIfTI mask (0 and 1) with the same
    shape and affine, written after its last slice. NAME is the file's stem, extended if other
    files have the same one.

    A target whose objects are told apart gives a label image, too: OUTPUT/NAME_nuclei_instances.png
    (16 bits; 0 is the background), a .tiff file if there are more than 65,535 objects, or a NIfTI
    file for a NIfTI image.

    Args:
        output: the folder; created by `make_folder`, or with the first result.
        paths: all the files, in any order; the names depend on them.
        overlay: whether to write the image with its masks drawn on it too, as
            OUTPUT/NAME_overlay.png.
        overwrite: whether to replace existing results.
        polygons: `"geojson"` to write the outlines of each image's objects as
            OUTPUT/NAME_polygons.geojson, for QuPath; `"coco"` to write all of them to
            OUTPUT/coco.json; or None.
        counts: path of a CSV table with the number and the areas of each image's objects, or None.
            This and coco.json are written by `finish`.
        dicom: which DICOM objects are written of DICOM images, after their last frame:
            OUTPUT/NAME_seg.dcm, OUTPUT/NAME_sr.dcm; or None. Only these copy from the header.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> from keras_espmedsam.inference import ResultWriter, expand_inputs, segment_files
        >>> folder = Path(tempfile.mkdtemp())
        >>> Image.linear_gradient("L").save(folder / "mole.png")
        >>> files = expand_inputs(folder).files
        >>> writer = ResultWriter(folder / "masks", files, overlay=True)
        >>> for result in segment_files("espmedsam_nano_256", files, "dermoscopy"):
        ...     for path in writer.write(result):
        ...         print(path.name)
        mole_mask.png
    """

    def __init__(
        self,
        output: str | os.PathLike,
        paths: str | os.PathLike | Sequence[str | os.PathLike],
        overlay: bool = False,
        overwrite: bool = False,
        polygons: str | None = None,
        counts: str | os.PathLike | None = None,
        dicom: DicomOptions | None = None,
    ):
        paths = [paths] if isinstance(paths, str | os.PathLike) else paths
        if not os.fspath(output):
            raise InputError("Received an empty path as output; give a folder for the results.")
        self.output = Path(output)
        # A file may be given by a relative and an absolute path.
        sources = {os.path.abspath(path): Path(path) for path in paths}
        self.overlay = overlay
        self.overwrite = overwrite
        self._names = ResultNames(self.output, sources)
        self._objects = ObjectFiles(self._names, polygons, counts)
        self._dicom = DicomFiles(self._names, dicom)
        self._sources = {os.path.realpath(path) for path in sources}
        # The masks and label images of the slices of each volume, by the path of their file.
        self._volumes: dict[Path, dict[Path, list[np.ndarray]]] = {}
        # The file that each result is of; that of all files together is of itself.
        self._written: dict[Path, Path] = {}
        self._tidied = False
        if os.path.lexists(self.output) and not os.path.isdir(self.output):
            what = "a file" if os.path.exists(self.output) else "a broken link"
            raise InputError(f"The output {self.output} is {what}; expected a folder.")

    def mask_paths(
        self,
        file: ImageFile,
        known_targets: Sequence[str] = (UNNAMED,),
        targets: Sequence[str] | None = None,
    ) -> list[Path]:
        """Return the paths of the masks of a file.

        Args:
            file: an `ImageFile` from `inspect_image_file`.
            known_targets: the names of all targets of its modality.
            targets: the names of those that are written; None for all.

        Returns:
            One path for each target of each image; if all masks of a target go to one file, one
            for each target.
        """
        names = known_targets if targets is None else targets
        return [
            path
            for index in range(1 if file.one_mask_file else file.count)
            for path in self._names.masks(file, index, names, known_targets).values()
        ]

    def check(
        self,
        files: Iterable[ImageFile],
        target_set: Targets | None = None,
        modalities: Sequence[str] | None = None,
        targets: str | Sequence[str] | None = None,
    ) -> None:
        """Check in advance that all results can be written.

        Args:
            files: all files that will be segmented.
            target_set: the segmenter's targets; None for one unnamed target.
            modalities: the modalities that the files may be of; None for all of `target_set`.
            targets: as for `segment_files`.

        Raises:
            InputError: when two results would have the same path, one would replace an image or
                an existing result, or the folder cannot be written.
        """
        try:
            check_writable(self.output)
        except OSError as error:
            raise InputError(
                f"The folder {self.output} cannot be written: {error.strerror}; give another one."
            ) from error
        self._objects.check()
        files = list(files)
        self._dicom.check(files)
        target_set = target_set or Targets({"": (UNNAMED,)})
        names = checked_targets(targets, target_set)
        choices = [
            (chosen.names, target_set.of(modality), tuple(chosen.kinds))
            for modality in modalities or target_set.modalities
            if names is None or set(names) & set(target_set.of(modality))
            for chosen in (choose_targets(target_set, modality, names),)
        ]
        planned = [path for file in files for path in self._planned(file, choices)]
        planned += self._objects.at_the_end()
        count = Counter(_same_name(path) for path in planned)
        twice = [path for path in planned if count[_same_name(path)] > 1]
        if twice:
            raise InputError(
                f"Two inputs would both be written to {twice[0]}; segment them one by one, with "
                "different --output folders."
            )
        self._check_places(planned)

    def make_folder(self) -> None:
        """Create the output folder, and remove half-written leftovers of a killed program.

        Raises:
            InputError: when it cannot be created.
        """
        try:
            self.output.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"The folder {self.output} cannot be created: {error.strerror}."
            ) from error
        if not self._tidied:
            remove_leftovers(self.output)
            self._tidied = True

    def write(self, result: FileResult) -> list[Path]:
        """Write one result.

        Args:
            result: a result of `segment_files`, in its order. Nothing is written for an error.

        Returns:
            A list with the paths of the written masks, and of the label images and DICOM objects
            after them; empty for a volume before its last slice.

        Raises:
            InputError: when it cannot be written, would replace an image or an existing result,
                belongs to a file that is not among the paths, or has neither a mask nor an error.
        """
        if not isinstance(result, FileResult):
            raise InputError(
                f"Received a result of type {type(result).__name__}; expected a FileResult from "
                "segment_files."
            )
        file, index, image = result.file, result.index, result.image
        if result.error is not None:
            if self._volumes.pop(result.path, None) is not None:
                self._objects.forget(result.path)
            self._dicom.forget(result.path)
            return []
        if file is None or index is None or image is None or result.mask is None:
            raise InputError(
                f"Received a result of {result.path} with neither a mask nor an error; pass the "
                "results of segment_files unchanged."
            )
        known = result.known_targets or result.targets
        masks = {
            path: np.asarray(result.masks[name], bool)
            for name, path in self._names.masks(file, index, result.targets, known).items()
        }
        labels = {
            self._names.instances(file, index, name, tiff=one.max(initial=0) > _MOST_IN_PNG): one
            for name, one in result.instances.items()
        }
        overlays = [self._names.overlay(file, index)] if self.overlay else []
        places = [*masks, *labels, *overlays, *self._objects.of_image(file, index)]
        places += self._dicom.of_file(file) if index + 1 == result.count else []
        self._check_order(result, next(iter(masks)))
        self._check_places(places, result.path)
        self.make_folder()
        try:
            objects = self._dicom.add(result)  # First, because some headers do not allow them.
            for path in overlays:
                write_overlay(
                    path, image.array, result.mask, result.targets, result.instances, known
                )
            written = self._write_arrays(result, write_mask, masks, file.one_mask_file)
            written += self._write_arrays(
                result, write_labels, labels, label_suffix(file) != ".png"
            )
            self._objects.add(result)
            written += objects
            if index + 1 == result.count:
                self._volumes.pop(result.path, None)
        except (OSError, InputError) as error:
            if file.one_mask_file:
                self._objects.forget(result.path)
            reason = getattr(error, "strerror", None) or str(error).rstrip(".")
            raise InputError(f"The result of {result.path} cannot be written: {reason}.") from error
        finally:
            self._written |= {path: result.path for path in places if os.path.lexists(path)}
        return written

    def remove(self, result: FileResult) -> None:
        """Remove what an earlier run wrote of an image that is now written to another folder.

        Args:
            result: a result of `segment_files` with a mask.

        Raises:
            InputError: without `overwrite`, and when a file cannot be removed.
        """
        file, index = result.file, result.index
        if not self.overwrite or file is None or index is None:
            raise InputError(
                f"Received an earlier result of {result.path} to remove from {self.output}; give "
                "overwrite=True, and a result with a mask."
            )
        known = result.known_targets or result.targets
        places = [*self._names.masks(file, index, result.targets, known).values()]
        places += [
            self._names.instances(file, index, name, tiff=tiff)
            for name in result.instances
            for tiff in (False, True)
        ]
        places += [self._names.overlay(file, index), *self._objects.of_image(file, index)]
        places += self._dicom.of_file(file)
        for path in places:
            if os.path.realpath(path) not in self._sources:
                try:
                    path.unlink(missing_ok=True)
                except OSError as error:
                    raise InputError(
                        f"The earlier result {path} cannot be removed: {error.strerror}."
                    ) from error

    def finish(self) -> list[Path]:
        """Write what holds the objects of all images: the table of counts and coco.json.

        Call it after the last result; without `counts` and `polygons="coco"`, it does nothing.

        Returns:
            The paths of the written files.

        Raises:
            InputError: when one of them exists already, or cannot be written.
        """
        places = self._objects.at_the_end()
        self._check_places(places)
        if places:
            self.make_folder()
        try:
            self._objects.write()
        except OSError as error:
            raise InputError(
                f"The results cannot be written to {places[0].parent}: {error.strerror}."
            ) from error
        self._written |= {path: path for path in places}
        return places

    def _write_arrays(self, result, write, arrays, one_file):
        """Write masks or label images, or hold them until the volume is complete."""
        written = []
        for path, array in arrays.items():
            if one_file:
                slices = self._volumes.setdefault(result.path, {}).setdefault(path, [])
                slices.append(array)
                if result.index + 1 < result.count:
                    continue
                array = slices
            write(path, array, result.image)
            written.append(path)
        return written

    def _check_order(self, result, mask_path):
        if not result.file.one_mask_file:
            return
        if not result.index:  # It begins anew.
            self._volumes.pop(result.path, None)
            return
        due = len(self._volumes.get(result.path, {}).get(mask_path, ()))
        if result.index != due:
            raise InputError(
                f"Received {result.file.format.image_word} {result.index + 1} of {result.path}; "
                f"expected {due + 1}. Pass the results of a file in their order."
            )

    def _check_places(self, places: Sequence[Path], source: Path | None = None) -> None:
        clash = next((path for path in places if os.path.realpath(path) in self._sources), None)
        if clash:
            raise InputError(
                f"The result {clash} would replace an input file; choose another --output."
            )
        of_others = [path for path in places if self._written.get(path, source) != source]
        if of_others and source is not None:
            raise InputError(
                f"The result {of_others[0]} of {source} would replace that of "
                f"{self._written[of_others[0]]}; segment them one by one, with different --output "
                "folders."
            )
        new = [path for path in places if path not in self._written]
        existing = [] if self.overwrite else [str(path) for path in new if os.path.exists(path)]
        if existing == [str(self._objects.counts)]:
            raise InputError(
                f"The table {existing[0]} already exists; choose another --counts, or give "
                "--overwrite to replace it."
            )
        if existing:
            more = f" and {len(existing) - 3} more" if len(existing) > 3 else ""
            raise InputError(
                f"These results already exist: {', '.join(existing[:3])}{more}. Choose another "
                "--output, or give --overwrite to replace them."
            )

    def _planned(self, file, choices):
        """Return the paths that a file's results may have, each once."""
        found: dict[Path, None] = {}
        for targets, known, kinds in choices:
            found |= dict.fromkeys(self.mask_paths(file, known, targets))
            for index in range(file.count):
                for name in kinds:
                    found[self._names.instances(file, index, name)] = None
        for index in range(file.count):
            if self.overlay:
                found[self._names.overlay(file, index)] = None
            found |= dict.fromkeys(self._objects.of_image(file, index))
        return found | dict.fromkeys(self._dicom.of_file(file))


def _same_name(path: Path) -> str:
    return os.path.abspath(path).casefold()
