"""What works without Keras is annotated, and checkers and editors see what is loaded lazily."""

import ast
import pathlib

import pytest

import keras_espmedsam

PACKAGE = pathlib.Path(keras_espmedsam.__file__).parent
ROOMS = (
    *("_compile_cache", "_compile_notice", "_files", "_renamed", "_startup", "_upward", "cli"),
    *("archive", "data", "dicom", "errors", "evaluation", "hub", "imaging", "inference"),
    *("registries", "serve"),
    *("training/config", "training/run"),
)
# A package's own table of what it loads when it is first used.
LAZY = {
    "": "_PARTS",
    "distillation": "_MODULES",
    "export": "_PLACES",
    "serve": "_PLACES",
    "training": "_MODULES",
}
# Of version 0.1.0, for which the table has another name too.
OLD = {"checkpoints", "FORMATS"}


def files_of(room):
    path = PACKAGE / room
    return sorted(path.rglob("*.py")) if path.is_dir() else [path.with_suffix(".py")]


def public_functions(node, prefix=""):
    """The functions and methods below a node, with their names; none of private classes."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            if not child.name.startswith("_") or (prefix and child.name == "__init__"):
                yield f"{prefix}{child.name}", child
        elif isinstance(child, ast.ClassDef):
            if not child.name.startswith("_"):
                yield from public_functions(child, f"{prefix}{child.name}.")
        else:
            yield from public_functions(child, prefix)


def missing(name, function):
    """What is not annotated of a function; a method's first parameter need not be."""
    arguments = function.args
    places = [*arguments.posonlyargs, *arguments.args]
    static = any(ast.unparse(one) == "staticmethod" for one in function.decorator_list)
    if "." in name and not static:
        places = places[1:]
    places += arguments.kwonlyargs
    places += [one for one in (arguments.vararg, arguments.kwarg) if one is not None]
    found = [one.arg for one in places if one.annotation is None]
    if function.returns is None and not name.endswith("__init__"):
        found.append("what it returns")
    return found


def not_annotated(source):
    return {
        name: found
        for name, function in public_functions(ast.parse(source))
        if (found := missing(name, function))
    }


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("def f(a: int, *b: int, c: int = 0, **d: int) -> None: ...", {}),
        ("def f(a, /, b, *c, d, **e): ...", {"f": [*"abdce", "what it returns"]}),
        ("async def f() -> None: ...\nasync def g(): ...", {"g": ["what it returns"]}),
        ("def _f(a): ...\ndef f() -> None:\n  def g(a): ...", {}),
        ("class _A:\n  def f(self, a): ...", {}),
        ("class A:\n  def __init__(self, a): ...\n  def __len__(self): ...", {"A.__init__": ["a"]}),
        ("class A:\n  @classmethod\n  def f(cls) -> None: ...", {}),
        ("class A:\n  @staticmethod\n  def f(a) -> None: ...", {"A.f": ["a"]}),
        ("class A:\n  class B:\n    def f(self, a) -> None: ...", {"A.B.f": ["a"]}),
        ("if True:\n  def f(a) -> None: ...", {"f": ["a"]}),
    ],
)
def test_what_is_not_annotated_is_found(source, found):
    assert not_annotated(source) == found


@pytest.mark.parametrize("room", ROOMS)
def test_public_functions_are_annotated(room):
    files = files_of(room)
    assert files
    found = {
        f"{file.relative_to(PACKAGE).as_posix()}: {name}": parameters
        for file in files
        for name, parameters in not_annotated(file.read_text(encoding="utf-8")).items()
    }
    assert not found


def test_the_package_says_that_it_is_annotated():
    assert (PACKAGE / "py.typed").is_file()


@pytest.mark.parametrize("room", LAZY)
def test_checkers_see_what_is_loaded_when_first_used(room):
    tree = ast.parse((PACKAGE / room / "__init__.py").read_text(encoding="utf-8"))
    seen, table = set(), set()
    for node in tree.body:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            # `import name as name` is what a checker takes for a name that is passed on.
            seen |= {one.asname for statement in node.body for one in statement.names}
        elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == LAZY[room]:
            table = set(ast.literal_eval(node.value))
    assert seen == table - OLD
