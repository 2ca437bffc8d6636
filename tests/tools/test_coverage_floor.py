"""What `tools/coverage_floor.py` says of measured coverage."""

import importlib.util
import json
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
spec = importlib.util.spec_from_file_location("floor", ROOT / "tools" / "coverage_floor.py")
floor = importlib.util.module_from_spec(spec)
spec.loader.exec_module(floor)

FLOORS = {"total": 90.0, "module": 80.0, "below": {"b.py": {"floor": 50.0, "reason": "a GPU"}}}


def measured(**files):
    entries = {
        f"{name}.py": {
            "summary": {
                "percent_covered": percent,
                "num_statements": 1000,
                "covered_lines": 10 * percent,
            },
            "missing_lines": [3, 4, 9],
        }
        for name, percent in {"a": 90.0, "b": 60.0, "c": 95.0, **files}.items()
    }
    return {"files": entries}


@pytest.mark.parametrize(
    "found, message",
    [
        (measured(), None),
        (measured(c=89.9), "All files: 89.95 % of the lines are run; the floor is 90.0 %."),
        (measured(a=79.9, c=100.1), "a.py: 79.9 % .* the floor is 80.0 %. Not run: 3-4, 9."),
        (measured(b=49.9), "b.py: 49.9 % .* the floor is 50.0 %."),
        (measured(b=87.9), None),
        (measured(b=88.0), "b.py: 88.0 % of the lines are run; take it out of `below`."),
    ],
)
def test_floors(found, message):
    sentences = list(floor.faults(found, FLOORS))
    assert len(sentences) == (message is not None)
    assert message is None or re.match(message, sentences[0])


def test_a_reason_for_a_file_that_is_gone():
    floors = {**FLOORS, "below": {"gone.py": {"floor": 1.0, "reason": ""}}}
    sentences = list(floor.faults(measured(b=85.0), floors))
    assert sentences == ["gone.py is listed under `below` and is no file of the package."]


def test_the_floors_have_never_been_higher():
    path = "tools/coverage_floor.json"
    command = ["git", "log", "--format=%H", "-n", "200", "--", path]
    commits = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if commits.returncode:
        pytest.skip("not a checkout of git")
    now = json.loads((ROOT / path).read_text())
    for floors in now.values():
        assert all(one["reason"] for one in floors["below"].values())
    for commit in commits.stdout.split():
        show = ["git", "show", f"{commit}:{path}"]
        then = json.loads(subprocess.run(show, cwd=ROOT, capture_output=True, text=True).stdout)
        for tests, floors in then.items():
            if isinstance(floors, dict) and tests in now:  # The first form had one set of floors.
                assert now[tests]["total"] >= floors["total"], commit
                assert now[tests]["module"] >= floors["module"], commit
