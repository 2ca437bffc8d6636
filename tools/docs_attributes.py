"""The docstrings of a class's attributes: the string under each of them in its source."""

import ast
import inspect
import itertools
import textwrap


def attribute_docstrings(of: type) -> dict[str, str]:
    """What stands under the annotated attributes of a class and of those it derives from.

    Python itself drops these strings, and pydantic would read the source at each start.

    Args:
        of: a class whose source is at hand.

    Returns:
        dict of attribute to docstring, in one line.
    """
    found: dict[str, str] = {}
    for one in reversed(of.__mro__[:-1]):  # The last is `object`, which has no source.
        body = ast.parse(textwrap.dedent(inspect.getsource(one))).body[0].body
        for attribute, below in itertools.pairwise(body):
            if (
                isinstance(attribute, ast.AnnAssign)
                and isinstance(below, ast.Expr)
                and isinstance(below.value, ast.Constant)
                and isinstance(below.value.value, str)
            ):
                found[attribute.target.id] = " ".join(below.value.value.split())
    return found
