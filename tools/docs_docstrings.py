"""Docstrings of the house as those that griffe reads: `Example:` is its section `Examples:`."""

import re
from typing import Any

import griffe


class HouseDocstrings(griffe.Extension):
    """Renames the section before it is read."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Change an object's docstring.

        Args:
            obj: what the docstring is of.
            kwargs: not used.
        """
        if obj.docstring is not None:
            obj.docstring.value = griffe_sections(obj.docstring.value)


def griffe_sections(text: str) -> str:
    """A docstring with `Examples:` for `Example:`.

    Args:
        text: the docstring.

    Example:
        >>> griffe_sections("Add one.\\n\\nExample:\\n    >>> add_one(1)\\n    2")
        'Add one.\\n\\nExamples:\\n    >>> add_one(1)\\n    2'
    """
    return re.sub(r"^Example:$", "Examples:", text, flags=re.MULTILINE)
