"""Whether Python code gives what the comments behind it state.

A comment behind an expression or an assignment states its value when it is a Python literal, or
begins with one before a comma, a colon, a semicolon or an opening parenthesis. Of `print` it states
what is printed. Any other comment is words.

- An integer, a string, a Boolean and None are exact.
- A float may be one unit of its last digit off: `# 0.93` stands for 0.92 to 0.94.
- A tuple beside an array or tensor is its shape, a list its values.
- `...` is anything: an element, or, in a list or tuple, any number of them.
"""

import ast
import contextlib
import decimal
import io
import re
import tokenize

import numpy as np

_HOOK = "_stated_"


def run(text, namespace, path, line):
    """Run a block, and compare what its comments state.

    Args:
        text: Python code.
        namespace: dict in which it runs.
        path: the page, for tracebacks.
        line: where in the page the text begins, from 1.

    Returns:
        Number of stated values that were compared.

    Raises:
        AssertionError: where the code gives another value.
    """
    padded = "\n" * (line - 1) + text
    stated = {row: one for row, comment in _comments(padded) if (one := literal(comment))}
    compared = set()

    def check(value, row, printed=False):
        node, source = stated[row]
        if printed:
            value = _printed_value(value)
        if not is_as_stated(node, source, value):
            raise AssertionError(f"line {row} states {source}, and gives {_short(value)}")
        compared.add(row)

    def check_print(row, *values, **options):
        told = io.StringIO()
        with contextlib.redirect_stdout(told):
            print(*values, **options)
        print(told.getvalue(), end="")
        check(told.getvalue().strip(), row, printed=True)

    tree = ast.parse(padded, str(path))
    tree = ast.fix_missing_locations(_Checked(stated).visit(tree))
    namespace.update({_HOOK: check, f"{_HOOK}print": check_print})
    exec(compile(tree, str(path), "exec", dont_inherit=True), namespace)
    return len(compared)


def literal(comment):
    """The literal that a comment states, as a pair of syntax tree and text; None for words."""
    text = comment.lstrip("#").strip()
    ends = [found.start() for found in re.finditer(r"[,:;]\s| \(", text)]
    for end in (len(text), *reversed(ends)):
        part = text[:end].strip()
        try:
            ast.literal_eval(part)
            return ast.parse(part, mode="eval").body, part
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            continue
    return None


def is_as_stated(node, source, value):
    """Whether a value is what a literal states.

    Args:
        node: the literal's syntax tree.
        source: the text in which it stands.
        value: any object.
    """
    if isinstance(node, ast.Constant) and node.value is ...:
        return True
    if isinstance(node, ast.Tuple) and hasattr(value, "shape"):
        value = tuple(value.shape)
    if isinstance(node, ast.Tuple | ast.List):
        if hasattr(value, "shape"):
            value = list(_numpy(value))
        is_type = isinstance(value, tuple if isinstance(node, ast.Tuple) else list)
        return is_type and _elements_are(node.elts, source, value)
    if isinstance(node, ast.Dict):
        if not isinstance(value, dict):
            return False
        keys = [ast.literal_eval(key) for key in node.keys]
        pairs = zip(keys, node.values, strict=True)
        return list(keys) == list(value) and all(
            is_as_stated(one, source, value[key]) for key, one in pairs
        )
    expected = ast.literal_eval(node)
    if hasattr(value, "shape"):
        value = _numpy(value)
        if value.shape:
            return False
        value = value.item()
    if isinstance(expected, float) and isinstance(value, int | float):
        text = ast.get_source_segment(source, node).replace("_", "")
        unit = decimal.Decimal(1).scaleb(decimal.Decimal(text).as_tuple().exponent)
        return abs(value - expected) <= float(unit) * (1 + 1e-9) or value == expected
    return isinstance(value, bool) == isinstance(expected, bool) and value == expected


def _elements_are(nodes, source, values):
    dots = [i for i, one in enumerate(nodes) if isinstance(one, ast.Constant) and one.value is ...]
    if dots:
        head, tail = dots[0], len(nodes) - dots[0] - 1
        if len(values) < head + tail:
            return False
        nodes = [*nodes[:head], *nodes[head + 1 :]]
        values = [*values[:head], *values[len(values) - tail :]]
    return len(nodes) == len(values) and all(
        is_as_stated(node, source, value) for node, value in zip(nodes, values, strict=True)
    )


def _numpy(value):
    if isinstance(value, np.ndarray | np.generic):
        return np.asarray(value)
    import keras

    return keras.ops.convert_to_numpy(value)


def _printed_value(text):
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _short(value):
    text = repr(value)
    return text if len(text) < 200 else f"{text[:100]} ... {text[-90:]}"


def _comments(text):
    """Rows of the comments that stand behind code, with the comments."""
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT and token.line[: token.start[1]].strip():
            yield token.start[0], token.string


class _Checked(ast.NodeTransformer):
    """Hand the values of expressions and assignments with a stated value to `check`."""

    def __init__(self, stated):
        self.stated = stated

    def visit_Expr(self, node):
        row = node.end_lineno
        call = node.value
        if row not in self.stated:
            return node
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name):
            if call.func.id == "print":
                call.func.id = f"{_HOOK}print"
                call.args.insert(0, ast.Constant(row))
                return node
        return ast.Expr(_hooked(call, row))

    def visit_Assign(self, node):
        return self._followed(node, node.targets[0])

    def visit_AnnAssign(self, node):
        return self._followed(node, node.target)

    def _followed(self, node, target):
        if node.end_lineno not in self.stated:
            return node
        target = ast.parse(ast.unparse(target), mode="eval").body
        return [node, ast.Expr(_hooked(target, node.end_lineno))]


def _hooked(value, row):
    return ast.Call(ast.Name(_HOOK, ast.Load()), [value, ast.Constant(row)], [])
