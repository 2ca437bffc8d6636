"""The generated reference: of commands, configurations, errors and presets."""

import importlib

import pytest
import typer

from keras_espmedsam.cli.app import app
from keras_espmedsam.hub.built_in_presets import builtin_presets


@pytest.fixture
def tool(monkeypatch):
    monkeypatch.syspath_prepend("tools")
    return importlib.import_module


def commands(command, name="espmedsam"):
    if not hasattr(command, "commands"):
        return {name: command}
    inner = (commands(one, f"{name} {word}") for word, one in command.commands.items())
    return {key: one for found in inner for key, one in found.items()}


def test_every_option_of_every_command(tool):
    page = tool("docs_commands").commands_page()
    found = commands(typer.main.get_command(app))
    assert {"espmedsam segment", "espmedsam convert sam"} < set(found)
    for name, command in found.items():
        section = page.split(f"## {name} {{ #")[1].split("\n## ")[0]
        for option in command.params:
            if option.param_type_name == "option" and option.name != "help":
                assert f"`{option.opts[0]}`" in section
                assert option.help


def test_an_option(tool):
    page = tool("docs_commands").commands_page()
    line = next(
        line for line in page.splitlines() if line.startswith("| `--batch-size` `INTEGER` |")
    )
    assert "| `8` |" in line and line.endswith("At least 1. |"), line
    assert "| `--overlay` | off |" in page
    assert "\b" not in page


@pytest.mark.parametrize("name", ["TrainConfig", "DistillConfig"])
def test_every_key_has_a_meaning(tool, name):
    module = tool("docs_configuration")
    keys = module.Keys(getattr(module, name))
    sections = keys.sections()
    without = [
        ".".join((*path, key))
        for path, section in sections
        for key in section["properties"]
        if not keys.meaning(section, key)
    ]
    assert not without
    assert len(sections) > 8


def test_a_key(tool):
    page = tool("docs_configuration").configuration_page()
    assert "| `workers` | whole number, at least 1 and at most 1024 | `1` | Threads" in page
    assert "### `phases.0.learning_rate` { #train-phases-learning_rate }" in page
    assert '| `name` | `adam` or `adamw` or `lion` or `nadam` or `sgd` | `"adamw"` |' in page


def test_meanings_are_those_of_the_class(tool):
    found = tool("docs_attributes").attribute_docstrings(Child)
    assert found == {"a": "Of the child.", "b": "On two lines."}


class Parent:
    a: int = 1
    """Of the parent."""
    b: int = 2
    """On two
    lines."""
    c: int = 3


class Child(Parent):
    a: int = 4
    """Of the child."""


def test_errors(tool):
    page = tool("docs_errors").errors_page()
    for name in ("InputError", "InputWarning", "NoImageError", "MetricError"):
        assert f"[`{name}`](api/" in page
    assert "| `espmedsam segment` | 0, all done;" in page


def test_presets(tool):
    module = tool("docs_presets")
    page, cards = module.presets_page(), module.cards()
    assert set(cards) == set(builtin_presets(earlier=True))
    for name, card in cards.items():
        assert f"(presets/{name}.md)" in page
        assert card.startswith(f"# {name}\n")


def test_examples_of_docstrings(tool):
    text = "Add one.\n\nExample:\n    >>> 1 + 1\n    2\n\nSource: an Example: of one."
    assert tool("docs_docstrings").griffe_sections(text) == text.replace(
        "\nExample:", "\nExamples:"
    )


def test_methods_of_bases_without_a_page(tool):
    class Shown:
        def fit(self):
            """Example: of another page."""

    class Mixin:
        def add_target(self):
            """Example: of one."""

        def twice(self):
            """Example: of the base."""

        def plain(self):
            """Without one."""

        def _hidden(self):
            """Example: of nobody."""

    class Segmenter(Shown, Mixin):
        def twice(self):
            """Example: of its own."""

    for one in (Shown, Mixin):
        one.__module__ = "keras_espmedsam.models.one"
    inherited_methods = tool("docs_api").inherited_methods
    assert inherited_methods(Segmenter, {Shown, Segmenter}) == ["add_target"]
    Mixin.__module__ = "another.package"
    assert inherited_methods(Segmenter, {Shown, Segmenter}) == []
