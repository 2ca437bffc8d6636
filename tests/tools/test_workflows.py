"""The workflows name what there is, and may do no more than they need: they run elsewhere."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / ".github" / "workflows"
WORKFLOWS = sorted(path.name for path in FOLDER.glob("*.yml"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
# `test-$TESTS` is one of these.
PARTS = {f"test-{part}" for part in ("no-backend", "torch", "tensorflow", "jax")}

every = pytest.mark.parametrize("name", WORKFLOWS)


def load(name):
    workflow = yaml.safe_load((FOLDER / name).read_text(encoding="utf-8"))
    # YAML 1.1 reads the key `on` as true.
    workflow["on"] = workflow.pop(True)
    return workflow


def steps(workflow):
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


def commands(workflow):
    return [step["run"] for step in steps(workflow) if "run" in step]


def test_there_is_one_for_each_purpose():
    expected = ["docs", "lint", "package", "release", "tests", "versions"]
    assert [Path(name).stem for name in WORKFLOWS] == expected


@every
def test_make_targets_exist(name):
    targets = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.M)) | PARTS
    used = {t for run in commands(load(name)) for t in re.findall(r"\bmake \"?([a-z-]+)", run)}
    assert {one for one in used if one != "test-"} <= targets


@every
def test_paths_exist(name):
    text = "\n".join(commands(load(name)))
    paths = set(re.findall(r"(?<![\w/.])((?:tests|tools|docs)/[\w./-]+|tests/\w+)", text))
    assert [path for path in paths if not (ROOT / path).exists()] == []


@every
def test_extras_and_groups_exist(name):
    text = "\n".join(commands(load(name)))
    extras = {e for found in re.findall(r"\.\[([^\]]+)\]", text) for e in found.split(",")}
    known = set(PROJECT["project"]["optional-dependencies"])
    assert extras - {"$KERAS_BACKEND"} <= known
    assert {"torch", "tensorflow", "jax"} <= known
    assert set(re.findall(r"--group (\w+)", text)) <= set(PROJECT["dependency-groups"])


@every
def test_rights_are_the_least(name):
    workflow = load(name)
    assert workflow["permissions"] == {"contents": "read"}
    assert "pull_request_target" not in workflow["on"]
    given = {k: job["permissions"] for k, job in workflow["jobs"].items() if "permissions" in job}
    expected = {
        "docs.yml": {"deploy": {"pages": "write", "id-token": "write"}},
        "release.yml": {"publish": {"id-token": "write"}},
    }
    assert given == expected.get(name, {})
    for job in given:
        # What may publish runs actions alone: no command, and no code of a checkout.
        used = [step.get("uses", "run") for step in workflow["jobs"][job]["steps"]]
        assert all(not one.startswith(("run", "actions/checkout")) for one in used)
    for step in steps(workflow):
        if step.get("uses", "").startswith("actions/checkout"):
            assert step["with"]["persist-credentials"] is False


@every
def test_actions_are_pinned_and_known(name):
    for step in steps(load(name)):
        if "uses" in step:
            pinned = r"actions/[\w-]+@v\d+|pypa/gh-action-pypi-publish@release/v1"
            assert re.fullmatch(pinned, step["uses"]), step["uses"]


@every
def test_no_text_from_outside_becomes_a_command(name):
    assert [run for run in commands(load(name)) if "${{" in run] == []


@every
def test_every_job_ends(name):
    workflow = load(name)
    assert all(0 < job["timeout-minutes"] <= 90 for job in workflow["jobs"].values())
    assert workflow["concurrency"]["group"]


def test_the_pythons_are_those_of_the_classifiers():
    classifiers = PROJECT["project"]["classifiers"]
    stated = re.findall(r"Python :: (3\.\d+)", "\n".join(classifiers))
    assert load("tests.yml")["jobs"]["linux"]["strategy"]["matrix"]["python"] == stated
    assert PROJECT["project"]["requires-python"] == f">={stated[0]}"


def test_a_release_needs_its_build():
    jobs = load("release.yml")["jobs"]
    assert jobs["publish"]["needs"] == "build"
    assert any('--tag "$GITHUB_REF_NAME"' in run for run in commands(load("release.yml")))


@pytest.mark.parametrize("name", ["bug", "wrong_mask", "feature"])
def test_forms(name):
    form = yaml.safe_load((ROOT / f".github/ISSUE_TEMPLATE/{name}.yml").read_text(encoding="utf-8"))
    fields = [part for part in form["body"] if part["type"] != "markdown"]
    ids = [field["id"] for field in fields]
    assert len(set(ids)) == len(ids)
    assert all(field["attributes"]["label"] for field in fields)
    if name != "feature":
        assert fields[ids.index("doctor")]["validations"]["required"] is True
        # GitHub has no `validations` for checkboxes: each option has its own.
        assert fields[ids.index("checks")]["attributes"]["options"][0]["required"] is True


def test_hooks_run_what_make_lint_runs():
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    for hook in config["repos"][0]["hooks"]:
        command = hook["entry"].replace(".venv/bin/", "$(BIN)/").replace(" --force-exclude", "")
        assert command in MAKEFILE.replace("format --check", "format"), command
