"""Families of names: what is known, what is added, and what is said of the rest."""

import importlib
import sys

import pytest

from keras_espmedsam import registries
from keras_espmedsam.errors import InputError, InputWarning
from keras_espmedsam.registries import registry
from keras_espmedsam.registries.registry import Registry


@pytest.fixture
def numbers():
    return Registry("numbers", "number", {"pi": "math:pi", "real": "numbers:Real.__name__"})


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Install a package: a module, and its entry points."""

    def installed(module, entries):
        (tmp_path / "numbers_package.py").write_text(module)
        info = tmp_path / "numbers_package-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Name: numbers-package\nVersion: 1.0\n")
        lines = "".join(f"{name} = {value}\n" for name, value in entries.items())
        (info / "entry_points.txt").write_text(f"[keras_espmedsam.numbers]\n{lines}")
        monkeypatch.syspath_prepend(tmp_path)
        importlib.invalidate_caches()
        registry._entry_points.cache_clear()

    yield installed
    sys.modules.pop("numbers_package", None)
    registry._entry_points.cache_clear()


def test_built_in_names(numbers):
    assert numbers.names() == ("pi", "real")
    assert "pi" in numbers and "e" not in numbers
    assert numbers.load("pi") == pytest.approx(3.14159265)
    assert numbers.load("real") == "Real"


def test_names_that_are_registered(numbers):
    numbers.register("tau", "math:tau")
    numbers.register("seven", 7)
    numbers.register("seven", 7)  # as a notebook's cell that is run again does
    assert list(numbers) == ["pi", "real", "tau", "seven"]
    assert numbers.load("tau") == pytest.approx(2 * numbers.load("pi"))
    assert numbers.load("seven") == 7
    numbers.unregister("seven")
    assert "seven" not in numbers


def test_entry_points_of_other_packages(numbers, install):
    install("E = 2.718\n", {"e": "numbers_package:E", "broken": "numbers_package:NONE"})
    assert numbers.names() == ("pi", "real", "broken", "e")
    assert "numbers_package" not in sys.modules
    assert numbers.load("e") == 2.718
    with pytest.raises(InputError, match="'broken', which another package added as 'numbers_pack"):
        numbers.load("broken")


def test_a_module_of_another_package_that_cannot_be_imported(numbers, install):
    install("raise RuntimeError('no licence')\n", {"e": "numbers_package:E"})
    with pytest.raises(InputError, match=r"cannot be imported \(RuntimeError: no licence\)"):
        numbers.load("e")
    numbers.import_others()  # It is what was asked for alone that has to be there.


def test_others_are_imported_together(numbers, install):
    install("E = 2.718\n", {"e": "numbers_package:E", "none": "no_such_package:E"})
    numbers.import_others()
    assert "numbers_package" in sys.modules


def test_an_entry_point_with_the_name_of_a_built_in_one_is_told(numbers, install):
    install("E = 2.718\n", {"pi": "numbers_package:E", "real": "numbers:Real.__name__"})
    with pytest.warns(InputWarning) as caught:
        assert numbers.load("pi") == pytest.approx(3.14159265)
        assert numbers.load("real") == "Real"  # Of the same place: nothing is passed over.
        assert numbers.names() == ("pi", "real")
    assert [str(one.message) for one in caught] == [
        "The number 'pi' that an installed package adds as 'numbers_package:E' is passed over: "
        "there is a built-in one of that name; rename it in that package."
    ]
    with pytest.raises(InputError, match="which there is already"):
        numbers.register("pi", "numbers_package:E")


def test_an_entry_point_with_an_extra(numbers, install):
    install("class Constants:\n    E = 2.718\n", {"e": "numbers_package:Constants.E [more]"})
    assert numbers.load("e") == 2.718


@pytest.mark.parametrize("place", ["numbers package:E", "numbers_package:E:F", "[more]"])
def test_an_entry_point_that_names_no_place(numbers, install, place):
    install("E = 2.718\n", {"odd": place, "e": "numbers_package:E"})
    assert numbers.load("e") == 2.718
    with pytest.raises(InputError, match="The number 'odd', which another package added as '"):
        numbers.load("odd")


def test_an_entry_point_of_a_module_alone(numbers, install):
    install("E = 2.718\n", {"all": "numbers_package"})
    assert numbers.load("all").E == 2.718


def test_a_script_among_the_modules_of_another_package_ends_no_program(numbers, install):
    install("raise SystemExit(3)\n", {"e": "numbers_package:E"})
    with pytest.raises(InputError, match=r"cannot be imported \(SystemExit: 3\)"):
        numbers.load("e")
    numbers.import_others()


def test_one_name_of_two_packages(numbers, install, tmp_path):
    install("E = 2.718\nF = 0\n", {"e": "numbers_package:E", "f": "numbers_package:F"})
    info = tmp_path / "second-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Name: second\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[keras_espmedsam.numbers]\ne = numbers_package:F\nf = numbers_package:F\n"
    )
    importlib.invalidate_caches()
    registry._entry_points.cache_clear()
    assert numbers.names() == ("pi", "real", "e", "f")
    with pytest.raises(InputError, match="'e' is added by several packages, as 'numbers_package:"):
        numbers.load("e")
    assert numbers.load("f") == 0


def test_a_package_that_registers_what_its_entry_point_names(numbers, install):
    install("class E:\n    pass\n", {"e": "numbers_package:E"})
    for target in ("numbers_package:E", numbers.load("e")):
        numbers.register("e", target)
        assert numbers.load("e").__name__ == "E" and numbers.names() == ("pi", "real", "e")
        numbers.unregister("e")
    with pytest.raises(InputError, match="named 'e', which there is already"):
        numbers.register("e", "math:e")


def test_a_class_that_is_defined_anew_takes_the_place_of_the_old_one(numbers):
    def define(value):
        class Number:
            pass

        Number.value = value
        return Number

    numbers.register("own", define(1))
    numbers.register("own", define(2))  # as a notebook's cell that is run again does
    assert numbers.load("own").value == 2
    for other in (lambda: 1, 3, "math:tau", dict):
        with pytest.raises(InputError, match="named 'own', which there is already"):
            numbers.register("own", other)
    numbers.register("first", lambda: 1)
    with pytest.raises(InputError, match="which there is already"):
        numbers.register("first", lambda: 2)


@pytest.mark.parametrize("name", ["pie", "", None, 3, ["pi"]])
def test_unknown_names(numbers, name):
    with pytest.raises(InputError, match=r"Received the number .*; expected one of pi, real"):
        numbers.load(name)


@pytest.mark.parametrize(
    "name, target, message",
    [
        ("pi", "math:tau", "named 'pi', which there is already"),
        ("", "math:tau", "expected a string"),
        (3, "math:tau", "expected a string"),
        ("tau", "math.tau", 'expected "module:attribute"'),
        ("tau", "math:", 'expected "module:attribute"'),
        ("tau", None, "Received None as the number 'tau'"),
    ],
)
def test_what_cannot_be_registered(numbers, name, target, message):
    with pytest.raises(InputError, match=message):
        numbers.register(name, target)


FAMILIES = [name for name in registries.__all__ if name != "Registry"]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_familys_group_has_its_name(family):
    assert getattr(registries, family).group == f"keras_espmedsam.{family}"
