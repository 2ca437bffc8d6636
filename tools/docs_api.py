"""The pages of the public classes and functions: one for each room of the package."""

import functools
import importlib
import inspect
import posixpath
from pathlib import Path

import keras_espmedsam

ROOT = Path(__file__).resolve().parent.parent


def rooms() -> dict[str, list[str]]:
    """The public rooms of the package, each with its public names, in the order of the room.

    A room without `__all__` that defines classes and functions itself, as `errors`, has those;
    one that has neither is no page of its own.
    """
    found = {}
    for room in keras_espmedsam.__all__:
        if not inspect.ismodule(getattr(keras_espmedsam, room)):
            continue
        module = importlib.import_module(f"keras_espmedsam.{room}")
        names = getattr(module, "__all__", None) or [
            name
            for name, value in vars(module).items()
            if not name.startswith("_")
            and (inspect.isclass(value) or inspect.isfunction(value))
            and value.__module__ == module.__name__
        ]
        if names:
            # Of a room that was renamed, the name that it has.
            found[module.__name__.removeprefix("keras_espmedsam.")] = list(names)
    return found


def room_page(room: str, names: list[str]) -> str:
    """The page of a room, in Markdown for mkdocstrings.

    Args:
        room: its name.
        names: its public names.
    """
    module = importlib.import_module(f"keras_espmedsam.{room}")
    opening = inspect.cleandoc(module.__doc__ or "")
    objects = "\n\n".join(
        f"::: keras_espmedsam.{room}.{name}\n{_options(getattr(module, name))}\n"
        f"{_source(getattr(module, name))}"
        for name in names
    )
    return f"# {room}\n\n`keras_espmedsam.{room}`\n\n{opening}\n\n{objects}\n"


def inherited_methods(value: type, public: set[type]) -> list[str]:
    """Methods with an example that a class has from bases of the package without a page.

    Args:
        value: the class.
        public: the classes with a page.
    """
    found = {}
    for base in value.__mro__[1:]:
        if base.__module__.startswith("keras_espmedsam.") and base not in public:
            for name, method in vars(base).items():
                documented = inspect.isfunction(method) and "Example" in (method.__doc__ or "")
                if documented and not name.startswith("_") and name not in vars(value):
                    found[name] = None
    return list(found)


@functools.cache
def _public_classes():
    values = (
        getattr(importlib.import_module(f"keras_espmedsam.{room}"), name)
        for room, names in rooms().items()
        for name in names
    )
    return {value for value in values if inspect.isclass(value)}


def _options(value):
    methods = inherited_methods(value, _public_classes()) if inspect.isclass(value) else []
    return f"    options:\n      inherited_members: [{', '.join(methods)}]\n" if methods else ""


def _source(value):
    """A link from a page of a room to the lines that define a class or a function."""
    if not (inspect.isclass(value) or inspect.isfunction(value)):
        return ""
    value = inspect.unwrap(value)
    file = posixpath.relpath(Path(inspect.getsourcefile(value)).as_posix(), ROOT.as_posix())
    line = inspect.getsourcelines(value)[1]
    return f"Defined in [`{file}`](../../../{file}#L{line})."


def index_page(found: dict[str, list[str]]) -> str:
    """The page of all rooms, in Markdown.

    Args:
        found: what `rooms` gives.
    """
    lines = []
    for room, names in found.items():
        module = importlib.import_module(f"keras_espmedsam.{room}")
        opening = inspect.cleandoc(module.__doc__ or "").split("\n\n")[0].replace("\n", " ")
        links = ", ".join(f"[`{one}`]({room}.md#keras_espmedsam.{room}.{one})" for one in names)
        lines.append(f"## [{room}]({room}.md)\n\n{opening}\n\n{links}\n")
    top = "::: keras_espmedsam.compile_cache\n"
    return (
        "# Python\n\nThe public classes and functions. What is not named here may change without "
        "notice.\n\n" + "\n".join(lines) + f"\n{top}"
    )
