"""The tutorials are sound notebooks; the documentation's build runs them."""

import ast
import re
import shlex
from pathlib import Path

import nbformat
import pytest
import typer

from keras_espmedsam.cli.app import app

ROOT = Path(__file__).resolve().parents[2]
TUTORIALS = sorted((ROOT / "docs" / "tutorials").glob("*.ipynb"))
FILES = "keras-espmedsam/keras-espmedsam/blob/main/"
COLAB = f"https://colab.research.google.com/github/{FILES}docs/tutorials/"
PLACES = (f"https://github.com/{FILES}", "https://colab.research.google.com/github/" + FILES)

tutorials = pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)


def cells(path, kind):
    notebook = nbformat.read(path, as_version=4)
    return [cell for cell in notebook.cells if cell.cell_type == kind]


def test_there_are_four():
    names = ["add_a_modality", "distil_from_a_sam", "segment_your_images", "train_on_your_own"]
    assert [path.stem for path in TUTORIALS] == names
    index = (ROOT / "docs" / "tutorials" / "index.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"\((\w+)\.ipynb\)", index)) == names


@tutorials
def test_it_is_valid_and_holds_no_outputs(path):
    nbformat.validate(nbformat.read(path, as_version=nbformat.NO_CONVERT))
    for cell in cells(path, "code"):
        assert cell.outputs == [] and cell.execution_count is None


@tutorials
def test_its_code_is_plain_python(path):
    for cell in cells(path, "code"):
        ast.parse(cell.source)  # no ! and % of notebooks, so that linters read it too


@tutorials
def test_it_begins_with_its_colab_link_and_the_installation(path):
    notebook = nbformat.read(path, as_version=4)
    first, second = notebook.cells[:2]
    assert first.source.startswith("# ")
    assert f"[Open in Colab]({COLAB}{path.name})" in first.source
    # One installation cell, the same in all: what is mended in one is mended in the others.
    assert second.source == cells(TUTORIALS[0], "code")[0].source
    assert 'find_spec("keras_espmedsam") is None' in second.source


@tutorials
def test_it_is_small_in_the_build_and_writes_into_one_folder(path):
    code = "\n".join(cell.source for cell in cells(path, "code"))
    assert 'TOY = bool(os.environ.get("ESPMEDSAM_TOY"))' in code
    assert f'FOLDER = "{path.stem}"' in code and "os.chdir(FOLDER)" in code
    # Not left to the end of the kernel, which does not wait for Python's own clearing up.
    assert cells(path, "code")[-1].source.endswith("scratch.cleanup()")


@tutorials
def test_every_figure_has_a_description(path):
    code = [cell.source for cell in cells(path, "code")]
    figures = [cell for cell in code if "plt.subplots(" in cell and "return figure" not in cell]
    assert figures
    for cell in code:
        calls = [
            node
            for node in ast.walk(ast.parse(cell))
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "show"
        ]
        assert all(len(ast.literal_eval(call.args[1])) > 20 for call in calls)
        assert calls or cell not in figures
        assert "plt.show" not in cell


@tutorials
def test_its_links_lead_to_files_of_the_repository(path):
    text = "\n".join(cell.source for cell in cells(path, "markdown"))
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert links
    for link in links:
        # Whole addresses: Colab knows no neighbouring files.
        assert link.startswith(PLACES)
        assert (ROOT / link.split("/blob/main/")[1]).is_file(), link


@tutorials
def test_its_commands_have_the_options_that_they_name(path):
    text = "\n".join(cell.source for cell in cells(path, "markdown") + cells(path, "code"))
    # On a line of its own, or in quotes of Markdown or Python.
    lines = re.findall(r"^espmedsam .+$", text, re.M)
    lines += re.findall(r"`(espmedsam [^`]+ [^`]+)`", text)
    lines += re.findall(r'run\("(espmedsam .+)"\)', text)
    assert lines
    for line in lines:
        command, arguments, name = typer.main.get_command(app), shlex.split(line)[1:], "espmedsam"
        while hasattr(command, "commands"):
            name, *arguments = arguments
            command = command.commands[name]
        command.make_context(name, arguments)
