"""The container of examples/serve: what it copies, installs, sets and runs exists."""

import json
import re
import shlex
import tomllib
from pathlib import Path

import pytest
import typer.main
import yaml

from keras_espmedsam.cli.app import app
from keras_espmedsam.cli.serve import TOKEN_VARIABLE
from keras_espmedsam.hub.built_in_presets import builtin_presets

for _library in ("fastapi", "prometheus_client", "uvicorn"):
    pytest.importorskip(_library, reason="it is of the extra serve")

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "examples" / "serve"


def instructions():
    """(instruction, its text) of the last stage of the Dockerfile, and all stages' COPY."""
    text = re.sub(r"(?m)^#.*\n", "", (FOLDER / "Dockerfile").read_text())
    lines = text.replace("\\\n", " ").strip().splitlines()
    found = [tuple(line.split(maxsplit=1)) for line in lines if line]
    last = max(i for i, (name, _) in enumerate(found) if name == "FROM")
    return dict(found[last:])


def compose():
    return yaml.safe_load((FOLDER / "compose.yaml").read_text())["services"]["espmedsam"]


def options(*arguments):
    """The options of `espmedsam serve`, parsed by its own parser, which raises for unknown ones."""
    command = typer.main.get_command(app).commands["serve"]
    return command.make_context("serve", list(arguments)).params


@pytest.mark.parametrize(
    "of", [lambda: json.loads(instructions()["CMD"]), lambda: compose()["command"]]
)
def test_the_command_is_one_of_the_package(of):
    entry = json.loads(instructions()["ENTRYPOINT"])
    assert entry[:2] == ["espmedsam", "serve"]
    found = options(*entry[2:], *of())
    assert found["host"] == "0.0.0.0" and str(found["port"]) == instructions()["EXPOSE"]
    assert set(found["models"]) <= set(builtin_presets())


def test_the_image_is_made_of_what_is_there():
    lines = (FOLDER / "Dockerfile.dockerignore").read_text().split()
    assert lines[0] == "*"  # All that is not listed stays out, such as .venv and data.
    assert all((ROOT / line[1:]).exists() for line in lines if line.startswith("!"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = re.search(r"\.whl\)\[([a-z,]+)\]", instructions()["RUN"])[1].split(",")
    assert "serve" in extras and set(extras) <= set(project["optional-dependencies"])
    base = re.search(r"python:([\d.]+)-slim", instructions()["FROM"])[1]
    assert f"Programming Language :: Python :: {base}" in project["classifiers"]


def test_it_runs_as_nobody_and_is_asked_for_its_health():
    found = instructions()
    uid = re.search(r"useradd --uid (\d+)", found["RUN"])[1]
    assert found["USER"] == uid != "0"
    check = json.loads(found["HEALTHCHECK"].partition("CMD ")[2])
    compile(check[2], "check", "exec")
    assert f"http://127.0.0.1:{found['EXPOSE']}/health'" in check[2]
    assert (
        dict(one.split("=") for one in shlex.split(found["ENV"]))["KERAS_BACKEND"] == "tensorflow"
    )


def test_compose_asks_for_a_token_and_lets_this_machine_in_alone():
    service = compose()
    value = service["environment"][TOKEN_VARIABLE]
    assert value.startswith(f"${{{TOKEN_VARIABLE}:?")  # It does not start without one.
    assert (FOLDER / service["build"]["context"]).resolve() == ROOT
    assert (ROOT / service["build"]["dockerfile"]).is_file()
    port = instructions()["EXPOSE"]
    assert service["ports"] == [f"127.0.0.1:{port}:{port}"]
    assert int(service["stop_grace_period"].rstrip("s")) > options()["seconds"]
