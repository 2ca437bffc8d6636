"""What a format is: how its files are named, what it can hold, what writes and what runs it."""

import importlib.util
from pathlib import Path

from keras_espmedsam.errors import InputError
from keras_espmedsam.registries.export_formats import export_formats

PRECISIONS = ("float32", "float16", "int8")
EXTRA = 'pip install "keras-espmedsam[export]"'


class ExportFormat:
    """A format that models are exported to.

    A new one is a class derived from this, which sets the attributes below and defines `write` and
    `load`. It is named in `keras_espmedsam.registries.export_formats`, by an entry point or by
    `register`; nothing else has to know of it. Its file imports neither Keras nor what writes the
    format before one of the two is called.

    Args:
        name: str. As it is registered, and `--format` takes it.

    Attributes:
        suffix: str. How the name of its file ends; empty for a folder.
        other_suffixes: tuple of str. Those of the files beside it that belong to it.
        marker: str. A file by which a folder is known as an artefact of this format.
        runtime: str. The module that runs it.
        writers: tuple of str. The modules that write it.
        install: str. What installs these.
        backend: str or None. The Keras backend that the model is written from; where Keras runs
            on another, `write` is called in a process of its own. `None` for any.
        any_size: bool. Whether it can leave height and width open.
        open_batch: bool. Whether it can leave the batch size open.
        precisions: tuple of str. Of `"float32"`, `"float16"` and `"int8"`.
        computes_in: tuple of str. What its runtime can be asked to compute in, of `"float32"` and
            `"bfloat16"`, whatever its weights are stored in; float32 is what it does unasked.
        calibrated: bool. Whether int8 has ranges that are chosen by real images.
        keeps_quantized_layers: bool. Whether it can hold layers that Keras' `quantize` changed.

    Example:
        >>> class Plain(ExportFormat):
        ...     suffix = ".npy"
        >>> Plain("plain").files(Path("eye.npy"))
        [PosixPath('eye.npy')]

    Source: ours.
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
            request: `ExportRequest`: what is asked for, with its size, batch size, precision and
                flavor.
            path: the file or folder to write.
            description: dict, ready for JSON, which goes into the artefact.
            calibration: list of dicts of inputs, one sample each, for int8 of a format that is
                `calibrated`; else empty.

        Raises:
            InputError: for what cannot be written; anything else that is raised is told as one.

        Source: ours.
        """
        raise NotImplementedError(f"{type(self).__name__} lacks the method write().")

    def check(self, path):
        """Refuse an artefact that does more than compute, before it is loaded.

        It is called for files whose origin is unknown. A format whose files hold no more than
        numbers need not define it.

        Args:
            path: the artefact, whose files are there.

        Raises:
            InputError: for what reaches files or networks, never ends, or is not of this format;
                anything else that is raised is told as one.

        Source: ours.
        """

    def load(self, path):
        """Load an artefact into the format's own runtime.

        Args:
            path: the artefact.

        Returns:
            Callable from a dict of arrays, `images` and, of several modalities, `modalities`, to
            a dict of arrays; see `keras_espmedsam.export.description`. It computes in float32. A
            format that has another in `computes_in` takes `precision` as a second argument.

        Source: ours.
        """
        raise NotImplementedError(f"{type(self).__name__} lacks the method load().")

    def files(self, path):
        """The files of the artefact at a path, the main one first.

        Args:
            path: the artefact.

        Returns:
            List of paths: all within a folder, or the file and those beside it.

        Source: ours.
        """
        path = Path(path)
        if not self.suffix:
            return sorted(file for file in path.rglob("*") if file.is_file())
        return [path, *(path.with_suffix(suffix) for suffix in self.other_suffixes)]

    def fits(self, path):
        """Whether a path is, by its name or its marker, that of an artefact of this format.

        Args:
            path: a path, of what need not be there.

        Source: ours.
        """
        path = Path(path)
        if self.suffix:
            return path.name.endswith(self.suffix)
        return self.marker is not None and (path / self.marker).is_file()


def get_format(name):
    """A format by name.

    Raises:
        InputError: for an unknown name, and for what another package added and is no format.

    Example:
        >>> get_format("tflite").suffix
        '.tflite'

    Source: ours.
    """
    found = export_formats.load(name)
    if not (isinstance(found, type) and issubclass(found, ExportFormat)):
        raise InputError(
            f"The format {name!r}, which another package added, is {found!r}; expected a class "
            "derived from keras_espmedsam.export.ExportFormat."
        )
    return found(name)


def all_formats():
    """All formats that can be loaded.

    Returns:
        List of `ExportFormat`; a broken one of another package is left out.

    Example:
        >>> [one.name for one in all_formats()][:2]
        ['saved_model', 'tflite']

    Source: ours.
    """
    found = []
    for name in export_formats:
        try:
            found.append(get_format(name))
        except InputError:  # It is told to who asks for that format.
            continue
    return found


def format_of(path):
    """The format that a path is an artefact of, by its name; of a folder, by what is in it.

    Args:
        path: str or path. What it names need not be there.

    Returns:
        `ExportFormat`, or `None` for a preset and anything else.

    Example:
        >>> format_of("eye.onnx").name, format_of("espmedsam_nano_256")
        ('onnx', None)

    Source: ours.
    """
    path = Path(path)
    if not path.suffix and not path.is_dir():
        return None  # The name of a preset: no need to look for formats of other packages.
    return next((one for one in all_formats() if one.fits(path)), None)


def check_installed(chosen):
    """Say what to install before any work is done.

    Args:
        chosen: `ExportFormat`.

    Raises:
        InputError: when a library that writes or runs the format is missing.

    Source: ours.
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
