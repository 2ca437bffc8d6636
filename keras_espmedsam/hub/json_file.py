"""Read JSON files that are not trusted."""

import json
import os
import pathlib
from typing import Any

from keras_espmedsam._shown import shown, shown_value
from keras_espmedsam.errors import InputError

MAX_BYTES = 16 * 2**20
# The files of Keras, keras-hub and this package are far below these limits.
_MAX_TEXT = 10_000
_MAX_DEPTH = 100
_MAX_NUMBER = 2**53
_AGAIN = "get it again from its source"


def read_json(path: str | os.PathLike, what: str) -> dict[str, Any]:
    """Read a JSON object from a file.

    Args:
        path: the file.
        what: the beginning of an error message, such as `"The file task.json of the preset x"`.

    Returns:
        dict.

    Raises:
        InputError: when the file cannot be read, is not a JSON object, has a key twice in one
            object, or holds NaN or infinite numbers, or excessive text, numbers or nesting.

    Example:
        >>> import os, tempfile
        >>> path = os.path.join(tempfile.mkdtemp(), "a.json")
        >>> _ = open(path, "w").write('{"depths": [1, NaN]}')
        >>> read_json(path, "The file a.json")
        Traceback (most recent call last):
        keras_espmedsam.errors.InputError: The file a.json holds NaN, which is not a number; get \
it again from its source.
    """
    try:
        path = pathlib.Path(path)
        if not path.is_file():
            raise InputError(f"{what} is missing, or not a file; {_AGAIN}.")
        if path.stat().st_size > MAX_BYTES:
            raise InputError(
                f"{what} has more than {MAX_BYTES >> 20} MiB; expected some kB of settings; "
                f"{_AGAIN}."
            )
        content = json.loads(
            path.read_bytes().decode("utf-8-sig"),
            parse_constant=_refused(what),
            object_pairs_hook=_each_once(what),
        )
    except InputError:
        raise
    except RecursionError:
        raise InputError(f"{what} is nested too deeply; {_AGAIN}.") from None
    except OSError as error:
        raise InputError(
            f"{what} cannot be read ({error.strerror or type(error).__name__}); {_AGAIN}."
        ) from error
    # Not UTF-8, not JSON, or a number with more digits than Python reads.
    except ValueError as error:
        raise InputError(f"{what} is damaged ({shown(error)}); {_AGAIN}.") from error
    if not isinstance(content, dict):
        raise InputError(f"{what} holds {shown_value(content)}; expected an object; {_AGAIN}.")
    _check(content, what, ())
    return content


def _refused(what):
    def refuse(constant):
        raise InputError(f"{what} holds {constant}, which is not a number; {_AGAIN}.")

    return refuse


def _each_once(what):
    """Return a hook that rejects repeated keys: programs differ in which value they read."""

    def check(pairs):
        found = dict(pairs)
        if len(found) < len(pairs):
            keys = [key for key, _ in pairs]
            twice = next(key for i, key in enumerate(keys) if key in keys[:i])
            raise InputError(f"{what} has the key {shown(twice)} twice in one object; {_AGAIN}.")
        return found

    return check


def _check(value, what, place):
    """Reject values that no setting has, at any depth."""
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
    return InputError(f"{what} has {found}{where}, which no model has as a setting; {_AGAIN}.")
