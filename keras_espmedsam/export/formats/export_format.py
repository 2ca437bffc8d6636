"""The base class of export formats: file names, abilities, writer and runtime."""

import importlib.util
import os
from pathlib import Path

from keras_espmedsam.errors import InputError
from keras_espmedsam.registries.export_formats import export_formats

PRECISIONS = ("float32", "float16", "int8")
EXTRA = 'pip install "keras-espmedsam[export]"'


class ExportFormat:
    """A format that models can be exported to.

    To add one, derive a class from this, set the attributes below and define `write` and `load`.
    Name it in `keras_espmedsam.registries.export_formats`, by an entry point or by `register`;
    nothing else has to change. Its module must not import Keras or the format's libraries before
    one of the methods is called.

    Args:
        name: str. The registered name, which `--format` takes.

    Attributes:
        suffix: str. Suffix of its file; empty for a folder.
        other_suffixes: tuple of str. Suffixes of further files next to it that belong to it.
        marker: str. A file that identifies a folder as an artefact of this format.
        runtime: str. The module that runs it.
        writers: tuple of str. The modules that write it.
        install: str. The command that installs these.
        backend: str or None. The Keras backend that the model is written from; if Keras runs on
            another, `write` is called in a separate process. `None` for any.
        any_size: bool. Whether it can leave height and width open.
        open_batch: bool. Whether it can leave the batch size open.
        precisions: tuple of str. Some of `"float32"`, `"float16"` and `"int8"`.
        computes_in: tuple of str. Precisions that its runtime can compute in, `"float32"` and
            `"bfloat16"`, whatever its weights are stored in; float32 is the default.
        calibrated: bool. Whether int8 has ranges that are chosen from real images.
        keeps_quantized_layers: bool. Whether it can hold layers changed by Keras' `quantize`.

    Example:
        >>> class Plain(ExportFormat):
        ...     suffix = ".npy"
        >>> Plain("plain").files(Path("eye.npy"))
        [PosixPath('eye.npy')]
    """

    suffix: str = ""
    other_suffixes: tuple[str, ...] = ()
    marker: str | None = None
    runtime: str = "numpy"
    writers: tuple[str, ...] = ()
    install: str = EXTRA
    backend: str | None = "tensorflow"
    any_size: bool = False
    open_batch: bool = False
    precisions: tuple[str, ...] = ("float32",)
    computes_in: tuple[str, ...] = ("float32",)
    calibrated: bool = False
    keeps_quantized_layers: bool = False

    def __init__(self, name):
        self.name = name

    def write(self, task, request, path, description, calibration):
        """Write an artefact.

        Args:
            task: the segmenter or classifier, folded, on `backend`.
            request: `ExportRequest`: the requested size, batch size, precision and flavor.
            path: the file or folder to write.
            description: dict, ready for JSON, to write into the artefact.
            calibration: list of dicts of inputs, one sample each, for int8 in a format that is
                `calibrated`; otherwise empty.

        Raises:
            InputError: if it cannot be written; any other error is converted to one.
        """
        raise NotImplementedError(f"{type(self).__name__} lacks the method write().")

    def check(self, path):
        """Raise for an artefact that does more than compute, before it is loaded.

        It is called for files of unknown origin. A format whose files hold only numbers need not
        define it.

        Args:
            path: the artefact, whose files exist.

        Raises:
            InputError: if it accesses files or networks, never ends, or is not of this format; any
                other error is converted to one.
        """

    def load(self, path):
        """Load an artefact into the format's own runtime.

        Args:
            path: the artefact.

        Returns:
            Callable from a dict of arrays, `images` and, for several modalities, `modalities`, to
            a dict of arrays; see `keras_espmedsam.export.description`. It computes in float32. A
            format with others in `computes_in` takes `precision` as a second argument.
        """
        raise NotImplementedError(f"{type(self).__name__} lacks the method load().")

    def files(self, path):
        """Return the files of the artefact at a path, the main one first.

        Args:
            path: the artefact.

        Returns:
            List of paths: all in the folder, or the file and those next to it.
        """
        path = Path(path)
        if not self.suffix:
            return sorted(file for file in path.rglob("*") if file.is_file())
        return [path, *(path.with_suffix(suffix) for suffix in self.other_suffixes)]

    def fits(self, path):
        """Whether a path, by its name or its marker, is an artefact of this format.

        Args:
            path: a path, which need not exist.
        """
        path = Path(path)
        if self.suffix:
            return path.name.endswith(self.suffix)
        return self.marker is not None and os.path.isfile(path / self.marker)


def get_format(name):
    """Return a format by name.

    Raises:
        InputError: for an unknown name, and for another package's entry that is not a format.

    Example:
        >>> get_format("tflite").suffix
        '.tflite'
    """
    found = export_formats.load(name)
    if not (isinstance(found, type) and issubclass(found, ExportFormat)):
        raise InputError(
            f"The format {name!r}, which another package added, is {found!r}; expected a class "
            "derived from keras_espmedsam.export.ExportFormat."
        )
    return found(name)


def all_formats():
    """Return all formats that can be loaded.

    Returns:
        List of `ExportFormat`, without broken ones of other packages.

    Example:
        >>> [one.name for one in all_formats()][:2]
        ['saved_model', 'tflite']
    """
    found = []
    for name in export_formats:
        try:
            found.append(get_format(name))
        except InputError:  # Reported only when that format is requested.
            continue
    return found


def format_of(path):
    """Return the format of the artefact at a path, by its name; for a folder, by its content.

    Args:
        path: str or path, which need not exist.

    Returns:
        `ExportFormat`, or `None` for a preset and anything else.

    Example:
        >>> format_of("eye.onnx").name, format_of("espmedsam_nano_256")
        ('onnx', None)
    """
    path = Path(path)
    # Unlike pathlib's, these take a name of any length.
    if not path.suffix and not os.path.isdir(path):
        return None  # A preset's name: no need to load formats of other packages.
    return next((one for one in all_formats() if one.fits(path)), None)


def check_installed(chosen):
    """Raise before any work if a library is missing, with the command that installs it.

    Args:
        chosen: `ExportFormat`.

    Raises:
        InputError: if a library that writes or runs the format is missing.

    Example:
        >>> check_installed(get_format("onnx"))  # nothing: the extra `export` is installed
    """
    missing = [
        module
        for module in dict.fromkeys((*chosen.writers, chosen.runtime))
        if importlib.util.find_spec(module) is None
    ]
    if missing:
        raise InputError(
            f"Exporting to {chosen.name} needs {', '.join(missing)}, which is not installed; "
            f"install it with: {chosen.install}"
        )
