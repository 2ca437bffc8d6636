"""Text and values from files, made fit for a sentence, a table or a list of names.

A file may come from anywhere: a name in it may hold what clears a terminal, turns the direction of
writing around or ends a line, and may be ten megabytes long. What is shown of it passes through
here, once.
"""

import itertools
import os
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Any

LENGTH = 100
"""Characters after which a name or value is cut."""
SENTENCE_LENGTH = 2000
"""Characters after which a whole sentence is cut, in its middle: what to do stands at its end."""

# Of a list or dict in a list or dict: enough to recognise it by.
_ITEMS = 6
_DEPTH = 3
# What a formula begins with: the last three end what a program strips, or begin a new cell.
_FORMULAS = ("=", "+", "-", "@", "\t", "\r", "\n")


def printable(text: str) -> str:
    r"""Text of any length without what cannot be seen; nothing is cut.

    Args:
        text: str.

    Example:
        >>> print(printable("\x1b[2J"))
        \x1b[2J

    Source: ours; what is escaped is what Python's `repr` escapes, but for spaces of other widths.
    """
    if text.isprintable():
        return text
    return "".join(
        # Spaces of other widths, which are no line's end, stand in names of files in East Asia.
        one
        if one.isprintable() or unicodedata.category(one) == "Zs"
        else one.encode("unicode_escape").decode("ascii")
        for one in text
    )


def shown(text: object, length: int = LENGTH) -> str:
    r"""A name, a path or any text from a file on one line: escapes for what cannot be seen, cut.

    Control characters, those that change the direction of writing, those without width and broken
    UTF-8 are shown as Python would write them; letters of all scripts stay.

    Args:
        text: str or path; of anything else its `str`.
        length: characters after which it is cut.

    Returns:
        The text, without quotation marks; use it in place of `{name}`.

    Example:
        >>> print(shown("eye\x1b[2J\n.png"), shown("Auge\u202egnp.exe"), shown("x" * 200, 8))
        eye\x1b[2J\n.png Auge\u202egnp.exe xxxxx...

    Source: ours; what is escaped is what Python's `repr` escapes, but for spaces of other widths.
    """
    text = text if isinstance(text, str) else str(text)
    # Before it is escaped: ten megabytes are looked at no longer than a name.
    text = printable(text[: length + 1])
    return text if len(text) <= length else text[: max(length - 3, 0)] + "..."


def shown_value(value: Any, length: int = LENGTH) -> str:
    r"""A value from a file, or given by the user, as Python writes it; cut, whatever it holds.

    Of lists and dicts the first items are looked at, and no deeper than the third: some hundred
    bytes of YAML make a list whose `repr` fills the memory. Arrays are named by shape and type.

    Args:
        value: anything.
        length: characters after which it is cut.

    Returns:
        The text, with quotation marks where it is a str; use it in place of `{value!r}`.

    Example:
        >>> print(shown_value("\x1b[2J"), shown_value([1, [2.5, None]]), shown_value(10**5000))
        '\x1b[2J' [1, [2.5, None]] a number of 5001 digits
        >>> shown_value(list(range(1000)))
        '[0, 1, 2, 3, 4, 5, ...]'

    Source: ours.
    """
    text = _written(value, length, _DEPTH)
    # The marks of a str that was cut already are not cut off.
    return text if len(text) <= length + 2 else text[: length - 3] + "..."


def shown_sentence(sentence: str) -> str:
    r"""A whole sentence on one line, whatever is quoted in it.

    Args:
        sentence: str, such as an error's message.

    Returns:
        The sentence; one of more than 2,000 characters without its middle.

    Example:
        >>> print(shown_sentence("The file \x1b[2J does not exist."))
        The file \x1b[2J does not exist.

    Source: ours.
    """
    if len(sentence) > SENTENCE_LENGTH:
        end = SENTENCE_LENGTH // 4
        sentence = f"{sentence[: SENTENCE_LENGTH - end]} ... {sentence[-end:]}"
    return printable(sentence)


def cell(value: Any) -> Any:
    """A cell of a table in a CSV file: no text of it is a formula to a spreadsheet program.

    Args:
        value: text, or a number, which stays what it is.

    Returns:
        The value; of text that begins as a formula does, with an apostrophe before it, which
        spreadsheet programs hide.

    Example:
        >>> cell("=1+1|cmd"), cell("fundus"), cell(-0.5)
        ("'=1+1|cmd", 'fundus', -0.5)

    Source: OWASP, CSV Injection.
    """
    value = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(value, str) or _is_number(value):
        return value
    # A space before it is no hindrance to a program that strips cells; nor is another width.
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
    except Exception:  # A stranger's class may write itself as it likes.
        return f"an object of type {type(value).__name__}"


def _listed(inside: Iterator[str], count: int, depth: int) -> str:
    if count and depth == 0:
        return "..."
    return ", ".join([*itertools.islice(inside, _ITEMS), *(["..."] if count > _ITEMS else [])])
