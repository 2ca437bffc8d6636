"""The error for an artefact that asks for more than mathematics."""

from pathlib import Path

from keras_espmedsam._shown import shown
from keras_espmedsam.errors import InputError

_NAMED = 5


def refuse_unknown(path, format, operators):
    """Raise for an artefact with operators that no export of this package needs.

    Args:
        path: the artefact.
        format: str. The format's display name.
        operators: iterable of the names of such operators; if empty, nothing happens.

    Raises:
        InputError: if there are any.

    Example:
        >>> refuse_unknown("eye.onnx", "ONNX", ["Loop"])
        Traceback (most recent call last):
        keras_espmedsam.errors.InputError: The ONNX artefact eye.onnx has operators that no model \
of this package needs: Loop. They may read and write files, or never end. If you trust who made \
it, run it with --trust on the command line, or trust=True in Python.
    """
    found = sorted({shown(name, 40) for name in operators})
    if found:
        more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
        raise InputError(
            f"The {format} artefact {shown(Path(path))} has operators that no model of this "
            f"package needs: {', '.join(found[:_NAMED])}{more}. They may read and write files, or "
            "never end. If you trust who made it, run it with --trust on the command line, or "
            "trust=True in Python."
        )
