"""All presets are rebuilt by one command, which goes on where it was stopped."""

import importlib
import json
import re
import sys

import pytest

from keras_espmedsam.hub.built_in_presets import builtin_presets


@pytest.fixture
def rebuild(monkeypatch):
    monkeypatch.syspath_prepend("tools")
    return importlib.import_module("rebuild_presets")


@pytest.fixture
def recipes(rebuild, tmp_path, monkeypatch):
    """Two presets whose steps write a line each, the last one as soon as it may."""
    monkeypatch.setenv("ESPMEDSAM_WORK", "not this one")
    (tmp_path / "write.py").write_text(
        "import os, sys\n"
        "if sys.argv[1] == 'b' and not os.path.exists('allowed'): sys.exit(3)\n"
        "assert os.environ['ESPMEDSAM_WORK'] == os.getcwd()\n"
        "open('log', 'a').write(' '.join(sys.argv[1:]) + '\\n')\n"
    )
    write = f"python {tmp_path / 'write.py'}"
    shared = f"{write} a"
    found = {"one": (shared, f"{write} b {rebuild.COMMIT}"), "two": (shared, f"{write} c")}
    monkeypatch.setattr(rebuild, "RECIPES", found)
    return tmp_path / "work"


def test_every_preset_has_its_steps(rebuild):
    assert set(rebuild.RECIPES) == set(builtin_presets())
    for command in rebuild.steps(rebuild.RECIPES):
        program, *rest = rebuild.argv(command, "abc")
        assert program == sys.executable or re.match(r"espmedsam", command)
        named = [one for one in rest if one.endswith((".py", ".yaml"))]
        assert all((rebuild.ROOT / one).is_file() for one in named), command
        assert rebuild.COMMIT not in rest


def test_the_list_names_each_step_once_and_runs_none(rebuild, recipes, capsys):
    rebuild.main(["--work", str(recipes), "--list"])
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.endswith("to do")] == [
        "one, two: to do",
        "one: to do",
        "two: to do",
    ]
    assert [line.split()[-1] for line in lines[1::2]] == ["a", rebuild.COMMIT, "c"]
    assert not recipes.exists()


def test_steps_that_are_done_are_passed_over(rebuild, recipes, capsys, monkeypatch):
    monkeypatch.setattr(rebuild, "head", lambda: "first")
    with pytest.raises(SystemExit, match="b COMMIT: exit status 3; repeat the command"):
        rebuild.main(["--work", str(recipes)])
    assert (recipes / "log").read_text() == "a\n"
    (recipes / "allowed").touch()
    monkeypatch.setattr(rebuild, "head", lambda: "second")
    for _ in range(2):
        rebuild.main(["--work", str(recipes)])
    # A card states the commit that its preset was begun with.
    assert (recipes / "log").read_text() == "a\nb first\nc\n"
    done = json.loads((recipes / "presets.json").read_text())
    assert [one["commit"] for one in done.values()] == ["first"] * 3
    capsys.readouterr()
    rebuild.main(["--work", str(recipes), "--list", "--preset", "two"])
    assert capsys.readouterr().out.count("two: done in") == 2


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "give a folder for the runs, outside of the repository"),
        (["--work", ""], "give a folder for the runs, outside of the repository"),
        (["--work", "runs"], "is in the repository; give a folder outside of it"),
        (["--work", "/tmp/x", "--preset", "tic_tiny_modality"], "set ESPMEDSAM_DATA to the folder"),
        (["--work", "/tmp/x", "--preset", "no"], "invalid choice: 'no'"),
    ],
)
def test_what_is_missing_is_said(rebuild, arguments, says, capsys, monkeypatch):
    monkeypatch.delenv("ESPMEDSAM_DATA", raising=False)
    monkeypatch.chdir(rebuild.ROOT)
    with pytest.raises(SystemExit):
        rebuild.main(arguments)
    assert says in capsys.readouterr().err


def test_imagenets_weights_are_asked_for_before_anything_runs(
    rebuild, tmp_path, capsys, monkeypatch
):
    for name in ("index.csv", "index2.csv"):
        (tmp_path / name).touch()
    monkeypatch.setenv("ESPMEDSAM_DATA", str(tmp_path))
    monkeypatch.delenv("EFFICIENTNET_LITE0", raising=False)
    with pytest.raises(SystemExit):
        rebuild.main(["--work", str(tmp_path / "work"), "--preset", rebuild.NANO])
    assert "set EFFICIENTNET_LITE0 to the file" in capsys.readouterr().err
    assert not (tmp_path / "work").exists()
