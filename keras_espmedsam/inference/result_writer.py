"""Masks and overlays of many files in one folder, as `espmedsam segment` writes them."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from keras_espmedsam._files import check_writable, remove_leftovers
from keras_espmedsam.data.images import ImageFile
from keras_espmedsam.data.masks import write_mask
from keras_espmedsam.errors import InputError
from keras_espmedsam.imaging.overlay import write_overlay
from keras_espmedsam.inference.file_result import FileResult
from keras_espmedsam.inference.input_files import unique_names


class ResultWriter:
    """Write the results of `segment_files` to a folder.

    A mask is OUTPUT/NAME_mask.png (0 and 255), of the size and orientation of what is stored; of a
    file with several images there is one for each (NAME_frame1_mask.png), of a NIfTI file one
    NIfTI file (0 and 1) with its shape and affine, written when its last slice is done. NAME is
    the file's stem, with as much in front or behind as tells it from those of the other files.

    Args:
        output: the folder; it is made with `make_folder`, or when the first result is written.
        paths: all the files, in any order, of which the names depend.
        overlay: whether the image with its mask drawn on it is written too, as
            OUTPUT/NAME_overlay.png.
        overwrite: whether results that exist already are replaced.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> from keras_espmedsam.inference import ResultWriter, expand_inputs, segment_files
        >>> folder = Path(tempfile.mkdtemp())
        >>> Image.linear_gradient("L").save(folder / "eye.png")
        >>> files = expand_inputs(folder).files
        >>> writer = ResultWriter(folder / "masks", files, overlay=True)
        >>> for result in segment_files("espmedsam_nano_256", files, "fundus"):
        ...     for path in writer.write(result):
        ...         print(path.name)
        eye_mask.png

    Source: ours.
    """

    def __init__(
        self,
        output: str | os.PathLike,
        paths: str | os.PathLike | Sequence[str | os.PathLike],
        overlay: bool = False,
        overwrite: bool = False,
    ):
        paths = [paths] if isinstance(paths, str | os.PathLike) else paths
        if not os.fspath(output):
            raise InputError("Received an empty path as output; give a folder for the results.")
        self.output = Path(output)
        # One file may be given from here and from the root.
        sources = {os.path.abspath(path): Path(path) for path in paths}
        self.overlay = overlay
        self.overwrite = overwrite
        self._names = dict(zip(sources, unique_names(list(sources.values())), strict=True))
        self._sources = {os.path.realpath(path) for path in sources}
        self._volumes: dict[Path, list[np.ndarray]] = {}
        self._written: set[Path] = set()
        self._tidied = False
        if os.path.lexists(self.output) and not os.path.isdir(self.output):
            what = "a file" if os.path.exists(self.output) else "a link that leads nowhere"
            raise InputError(f"The output {self.output} is {what}; expected a folder.")

    def mask_paths(self, file: ImageFile) -> list[Path]:
        """Where the masks of a file's images go.

        Args:
            file: as `inspect_image_file` gives it.

        Returns:
            One path for each image, or a single one where all go to one file.
        """
        return [self._mask_path(file, i) for i in range(1 if file.one_mask_file else file.count)]

    def check(self, files: Iterable[ImageFile]) -> None:
        """Refuse beforehand what `write` would refuse in the middle of the work.

        Args:
            files: all that are to be segmented.

        Raises:
            InputError: when two results would be one file, one would replace an image, one
                exists and is not to be replaced, or the folder cannot be written.
        """
        try:
            check_writable(self.output)
        except OSError as error:
            raise InputError(
                f"The folder {self.output} cannot be written: {error.strerror}; give another."
            ) from error
        planned = [path for file in files for path in self._paths(file)]
        count = Counter(str(path).casefold() for path in planned)
        twice = [path for path in planned if count[str(path).casefold()] > 1]
        if twice:
            raise InputError(
                f"Two inputs would both be written to {twice[0]}; segment them one by one, with "
                "different --output folders."
            )
        self._check_places(planned)

    def make_folder(self) -> None:
        """Make the output folder, and remove from it what a killed program left half-written.

        Raises:
            InputError: when it cannot be made.
        """
        try:
            self.output.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"The folder {self.output} cannot be made: {error.strerror}."
            ) from error
        if not self._tidied:
            remove_leftovers(self.output)
            self._tidied = True

    def write(self, result: FileResult) -> list[Path]:
        """Write one result.

        Args:
            result: as `segment_files` gives it, in its order. One with an error writes nothing.

        Returns:
            The mask that was written, in a list; none of a volume before its last slice.

        Raises:
            InputError: when it cannot be written, would replace one of the images, exists and is
                not to be replaced, is of a file that was not among the paths, or holds neither a
                mask nor an error.
        """
        if not isinstance(result, FileResult):
            raise InputError(
                f"Received a result of type {type(result).__name__}; expected a FileResult, one of "
                "those that segment_files gives."
            )
        if result.error is not None:
            self._volumes.pop(result.path, None)
            return []
        file, index, image, mask = result.file, result.index, result.image, result.mask
        if file is None or index is None or image is None or mask is None:
            raise InputError(
                f"Received a result of {result.path} with neither a mask nor an error; give the "
                "results of segment_files as they come."
            )
        mask_path, overlay_path = self._mask_path(file, index), None
        places = [mask_path]
        if file.one_mask_file and index:
            due = len(self._volumes.get(result.path, ()))
            if index != due:
                raise InputError(
                    f"Received the {file.format.image_word} {index + 1} of {result.path} where "
                    f"{due + 1} was due; give the results of a file in their order."
                )
        if self.overlay:
            overlay_path = self._overlay_path(file, index)
            places.append(overlay_path)
        self._check_places([path for path in places if path not in self._written])
        self.make_folder()
        try:
            if overlay_path is not None:
                write_overlay(overlay_path, image.array, mask)
                self._written.add(overlay_path)
            masks: np.ndarray | list[np.ndarray] = mask
            if file.one_mask_file:
                masks = self._volumes[result.path] = self._volumes[result.path] if index else []
                masks.append(np.asarray(mask, bool))
                if index + 1 < result.count:
                    return []
                del self._volumes[result.path]
            write_mask(mask_path, masks, image)
        except (OSError, InputError) as error:
            reason = getattr(error, "strerror", None) or str(error).rstrip(".")
            raise InputError(f"The result of {result.path} cannot be written: {reason}.") from error
        self._written.add(mask_path)
        return [mask_path]

    def _check_places(self, places: Sequence[Path]) -> None:
        clash = next((path for path in places if os.path.realpath(path) in self._sources), None)
        if clash:
            raise InputError(
                f"The result {clash} would replace an input of that name; choose another --output."
            )
        existing = [] if self.overwrite else [str(path) for path in places if os.path.exists(path)]
        if existing:
            more = f" and {len(existing) - 3} more" if len(existing) > 3 else ""
            raise InputError(
                f"These results exist already: {', '.join(existing[:3])}{more}. Choose another "
                "--output, or give --overwrite to replace them."
            )

    def _paths(self, file: ImageFile) -> Iterator[Path]:
        yield from self.mask_paths(file)
        if self.overlay:
            yield from (self._overlay_path(file, index) for index in range(file.count))

    def _mask_path(self, file: ImageFile, index: int) -> Path:
        number = "" if file.one_mask_file else _number(file, index)
        return self.output / f"{self._name(file)}{number}_mask{file.mask_suffix}"

    def _overlay_path(self, file: ImageFile, index: int) -> Path:
        return self.output / f"{self._name(file)}{_number(file, index)}_overlay.png"

    def _name(self, file: ImageFile) -> str:
        name = self._names.get(os.path.abspath(file.path))
        if name is None:
            raise InputError(
                f"Received a result of {file.path}, which was not among the paths that the writer "
                "was made for; give it all of them, so that every file has a name of its own."
            )
        return name


def _number(file: ImageFile, index: int) -> str:
    if file.count == 1:
        return ""
    return f"_{file.format.image_word}{index + 1:0{len(str(file.count))}}"
