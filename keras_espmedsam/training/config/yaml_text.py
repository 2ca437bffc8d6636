"""Read YAML from any source: plain values only, and no more than a person writes."""

import re
from pathlib import Path
from typing import Any

import yaml

from keras_espmedsam._plain_file import check_plain_file
from keras_espmedsam._shown import shown
from keras_espmedsam.errors import InputError

MAX_BYTES = 2**18
# Values and characters, counting an alias each time it is used: a few lines of nested aliases can
# expand to more than any memory holds.
_MOST = 100_000
_DEEPEST = 50


def parse_yaml(text: str, name: str) -> Any:
    """Parse YAML into plain values; tags never run code.

    Args:
        text: the YAML.
        name: what the text is, as the beginning of a sentence.

    Returns:
        A dict, a list or a value, with at most a hundred thousand values and characters.

    Raises:
        InputError: for text that is not YAML, is too large or has a duplicate key.

    Example:
        >>> parse_yaml("rate: 1e-3", "The configuration")
        {'rate': 0.001}
    """
    if len(text) > MAX_BYTES:
        raise _too_long(name)
    try:
        values = yaml.load(text, _Loader)
        _count(values, [_MOST], _DEEPEST)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "it cannot be parsed"
        raise InputError(f"{name} is not YAML{where}: {shown(problem, 200)}.") from error
    except RecursionError:
        raise InputError(f"{name} is nested too deeply; give plain keys and values.") from None
    except _TooMuch:
        raise InputError(
            f"{name} stands for more than {_MOST:,} values or is nested too deeply; give plain "
            "keys and values, without aliases of aliases."
        ) from None
    # An invalid date, a number of more digits than Python reads, a tag on the wrong type.
    except (ValueError, ArithmeticError, LookupError, AttributeError, TypeError) as error:
        raise InputError(
            f"{name} holds an invalid value ({shown(error, 200)}); write it in quotes if it "
            "is text."
        ) from error
    return values


def read_yaml(path: Path, name: str) -> Any:
    """Read a YAML file, see `parse_yaml`.

    Args:
        path: the file.
        name: what it is, as the beginning of a sentence.

    Raises:
        InputError: if it cannot be read, and as `parse_yaml`.
    """
    try:
        check_plain_file(path)
        with path.open("rb") as file:
            # One byte more than allowed.
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise _too_long(name)
        text = content.decode("utf-8-sig")
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"{name} does not exist; check the path.") from None
    except OSError as error:
        raise InputError(f"{name} cannot be read: {error.strerror}.") from error
    except ValueError as error:  # Not UTF-8, or a path with a null byte.
        raise InputError(f"{name} cannot be read ({type(error).__name__}).") from error
    return parse_yaml(text, name)


def _too_long(name):
    return InputError(
        f"{name} has more than {MAX_BYTES >> 10} KiB; expected settings of a few lines."
    )


class _TooMuch(Exception):
    pass


def _count(value, left, deeper):
    """Count a value and everything in it, stopping at the limit."""
    left[0] -= 1 + (len(value) if isinstance(value, str | bytes) else 0)
    if left[0] < 0 or deeper < 0:
        raise _TooMuch
    if isinstance(value, dict):
        for key, one in value.items():
            _count(key, left, deeper - 1)
            _count(one, left, deeper - 1)
    elif isinstance(value, list | tuple | set):
        for one in value:
            _count(one, left, deeper - 1)


_MERGE = "tag:yaml.org,2002:merge"


# Not a YAML 1.2 loader such as ruamel.yaml: there `yes`, `010` and `100:45` mean other things, also
# in the config.yaml of runs that were started with this loader.
class _Loader(yaml.SafeLoader):
    """YAML loader that reads 1e-3 as a number and rejects duplicate keys."""

    def __init__(self, stream: Any):
        super().__init__(stream)
        self._merged = 0

    def construct_mapping(self, node: Any, deep: bool = False) -> dict:
        seen = set()
        for key_node, _ in node.value:
            if key_node.tag == _MERGE or not isinstance(key_node, yaml.ScalarNode):
                continue  # `<<`, which may occur twice; lists and dicts are invalid keys anyway.
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {shown(key)} occurs twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)

    def flatten_mapping(self, node: Any) -> None:
        """Stop nested merges, which grow tenfold with each line, while they are read."""
        super().flatten_mapping(node)
        self._merged += len(node.value)
        if self._merged > _MOST:
            raise _TooMuch


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"),
    "-+0123456789",
)
