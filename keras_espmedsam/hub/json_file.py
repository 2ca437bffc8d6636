"""Reading a JSON file that may come from anywhere."""

import json
import os
import pathlib
from typing import Any

from keras_espmedsam._shown import shown, shown_value
from keras_espmedsam.errors import InputError

MAX_BYTES = 16 * 2**20
# Text and nesting in what Keras, keras-hub and this package write are far below.
_MAX_TEXT = 10_000
_MAX_DEPTH = 100
_MAX_NUMBER = 2**53
_AGAIN = "get it again from where it is from"


def read_json(path: str | os.PathLike, what: str) -> dict[str, Any]:
    """The object that a JSON file holds.

    Args:
        path: the file.
        what: what it is, as the beginning of a sentence: `"The file task.json of the preset x"`.

    Returns:
        dict.

    Raises:
        InputError: when it cannot be read, is no JSON object, or holds what is no setting: NaN or
            infinite numbers, text, numbers or nesting without end.

    Example:
        >>> import os, tempfile
        >>> path = os.path.join(tempfile.mkdtemp(), "a.json")
        >>> _ = open(path, "w").write('{"depths": [1, NaN]}')
        >>> read_json(path, "The file a.json")
        Traceback (most recent call last):
        keras_espmedsam.errors.InputError: The file a.json holds NaN, which is no number; get it \
again from where it is from.

    Source: ours.
    """
    try:
        path = pathlib.Path(path)
        if not path.is_file():
            raise InputError(f"{what} is missing, or no file; {_AGAIN}.")
        if path.stat().st_size > MAX_BYTES:
            raise InputError(
                f"{what} has more than {MAX_BYTES >> 20} MiB, where settings take "
                f"some kB; {_AGAIN}."
            )
        content = json.loads(path.read_bytes().decode("utf-8-sig"), parse_constant=_refused(what))
    except InputError:
        raise
    except RecursionError:
        raise InputError(f"{what} is nested too deeply; {_AGAIN}.") from None
    except OSError as error:
        raise InputError(
            f"{what} cannot be read ({error.strerror or type(error).__name__}); {_AGAIN}."
        ) from error
    # Neither UTF-8 nor JSON, or a number of more digits than Python reads.
    except ValueError as error:
        raise InputError(f"{what} is damaged ({shown(error)}); {_AGAIN}.") from error
    if not isinstance(content, dict):
        raise InputError(
            f"{what} holds {shown_value(content)}, where an object is expected; {_AGAIN}."
        )
    _check(content, what, ())
    return content


def _refused(what):
    def refuse(constant):
        raise InputError(f"{what} holds {constant}, which is no number; {_AGAIN}.")

    return refuse


def _check(value, what, place):
    """Refuse what is no setting of anything, at any depth."""
    if isinstance(value, dict):
        for key, one in value.items():
            if len(key) > _MAX_TEXT:
                raise _absurd(what, place, f"the key {shown(key)}")
            _check_part(one, what, (*place, key))
    elif isinstance(value, list):
        for i, one in enumerate(value):
            _check_part(one, what, (*place, i))
    elif (isinstance(value, str) and len(value) > _MAX_TEXT) or (
        isinstance(value, int | float) and not abs(value) <= _MAX_NUMBER
    ):
        raise _absurd(what, place, shown_value(value))


def _check_part(value, what, place):
    if len(place) > _MAX_DEPTH:
        raise _absurd(what, place[:4], f"more than {_MAX_DEPTH} levels")
    _check(value, what, place)


def _absurd(what, place, found):
    where = f" at {shown('.'.join(map(str, place)))}" if place else ""
    return InputError(f"{what} has {found}{where}, which is no setting of any model; {_AGAIN}.")
