"""Make text and values from files safe to show in a message, a table or a list of names.

Files are not trusted: a name in one may contain characters that clear a terminal, reverse the
writing direction or end a line, and may be ten megabytes long. Everything that is shown from a file
passes through here once.
"""

import itertools
import os
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Any

LENGTH = 100
"""Characters after which a name or value is cut."""
SENTENCE_LENGTH = 2000
"""Characters above which a message is cut in its middle, because its end says what to do."""

# Items and levels of a list or dict that are shown: enough to recognise it.
_ITEMS = 6
_DEPTH = 3
# Characters that start a formula: the last three may also start a new cell.
_FORMULAS = ("=", "+", "-", "@", "\t", "\r", "\n")


def printable(text: str) -> str:
    r"""Escape the invisible characters of a text, without cutting it.

    The same characters are escaped as by Python's `repr`, except spaces of other widths.

    Args:
        text: str.

    Example:
        >>> print(printable("\x1b[2J"))
        \x1b[2J
    """
    if text.isprintable():
        return text
    return "".join(
        # Spaces of other widths do not end a line, and file names in East Asia contain them.
        one
        if one.isprintable() or unicodedata.category(one) == "Zs"
        else one.encode("unicode_escape").decode("ascii")
        for one in text
    )


def shown(text: object, length: int = LENGTH) -> str:
    r"""Show a name, a path or other text from a file on one line, with escapes, cut if long.

    Control characters, those that change the writing direction, those without width and broken
    UTF-8 are escaped as in Python's `repr`; letters of all scripts stay.

    Args:
        text: str or path; for anything else, its `str`.
        length: characters after which it is cut.

    Returns:
        The text, without quotation marks; use it instead of `{name}`.

    Example:
        >>> print(shown("eye\x1b[2J\n.png"), shown("Auge\u202egnp.exe"), shown("x" * 200, 8))
        eye\x1b[2J\n.png Auge\u202egnp.exe xxxxx...
    """
    text = text if isinstance(text, str) else str(text)
    # Cut before escaping, so that ten megabytes take no longer than a name.
    text = printable(text[: length + 1])
    return text if len(text) <= length else text[: max(length - 3, 0)] + "..."


def shown_value(value: Any, length: int = LENGTH) -> str:
    r"""Show a value from a file or a user like `repr`, cut if long.

    Only the first items of lists and dicts are shown, to the third level, because some hundred
    bytes of YAML can make a list whose `repr` fills the memory. Arrays are shown as shape and type.

    Args:
        value: any value.
        length: characters after which it is cut.

    Returns:
        The text, with quotation marks for a str; use it instead of `{value!r}`.

    Example:
        >>> print(shown_value("\x1b[2J"), shown_value([1, [2.5, None]]), shown_value(10**5000))
        '\x1b[2J' [1, [2.5, None]] a number of 5001 digits
        >>> shown_value(list(range(1000)))
        '[0, 1, 2, 3, 4, 5, ...]'
    """
    text = _written(value, length, _DEPTH)
    # Keep the quotation marks of a str that was already cut.
    return text if len(text) <= length + 2 else text[: length - 3] + "..."


def shown_sentence(sentence: str) -> str:
    r"""Show a whole message on one line, whatever it quotes.

    Args:
        sentence: str, such as an error's message.

    Returns:
        The message; without its middle if it has more than 2,000 characters.

    Example:
        >>> print(shown_sentence("The file \x1b[2J does not exist."))
        The file \x1b[2J does not exist.
    """
    if len(sentence) > SENTENCE_LENGTH:
        end = SENTENCE_LENGTH // 4
        sentence = f"{sentence[: SENTENCE_LENGTH - end]} ... {sentence[-end:]}"
    return printable(sentence)


def cell(value: Any) -> Any:
    """Make a cell of a CSV file safe, so that spreadsheet programs do not read it as a formula.

    Args:
        value: text, or a number, which is unchanged.

    Returns:
        The value; text that starts like a formula gets an apostrophe in front, which spreadsheet
        programs hide.

    Example:
        >>> cell("=1+1|cmd"), cell("fundus"), cell(-0.5)
        ("'=1+1|cmd", 'fundus', -0.5)

    Source: OWASP, CSV Injection.
    """
    value = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(value, str) or _is_number(value):
        return value
    # Programs may strip spaces and normalise wide characters before they look for a formula.
    start = unicodedata.normalize("NFKC", value.lstrip(" ")[:1])
    return f"'{value}" if start in _FORMULAS and value.strip(" ") else value


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _written(value: Any, length: int, depth: int) -> str:
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if isinstance(value, str | bytes):
        if len(value) <= length:
            return repr(value)
        dots: Any = "..." if isinstance(value, str) else b"..."
        return repr(value[: max(length - 3, 0)] + dots)
    if isinstance(value, int) and not isinstance(value, bool):
        # Python refuses to write numbers of more than 4,300 digits.
        digits = int(abs(value).bit_length() * 0.30103) + 1
        return str(value) if digits <= length else f"a number of {digits} digits"
    if isinstance(value, Mapping):
        inside: Iterator[str] = (
            f"{_written(key, length, depth - 1)}: {_written(one, length, depth - 1)}"
            for key, one in value.items()
        )
        return "{" + _listed(inside, len(value), depth) + "}"
    if isinstance(value, list | tuple | set | frozenset):
        inside = (_written(one, length, depth - 1) for one in value)
        text = _listed(inside, len(value), depth)
        if isinstance(value, tuple):
            return f"({text},)" if len(value) == 1 else f"({text})"
        return f"[{text}]" if isinstance(value, list) else f"{{{text}}}"
    if getattr(value, "shape", None):
        return f"an array of shape {tuple(value.shape)} and type {getattr(value, 'dtype', '?')}"
    try:
        return shown(repr(value), length)
    except Exception:  # The repr of an unknown class may fail.
        return f"an object of type {type(value).__name__}"


def _listed(inside: Iterator[str], count: int, depth: int) -> str:
    if count and depth == 0:
        return "..."
    return ", ".join([*itertools.islice(inside, _ITEMS), *(["..."] if count > _ITEMS else [])])
