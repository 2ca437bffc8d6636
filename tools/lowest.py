"""Print the lowest versions that pyproject.toml allows, as constraints for pip.

    python tools/lowest.py > lowest.txt
    pip install --constraint lowest.txt ".[torch,medical,train]" pytest

Python 3.11 alone has wheels of all of them. Only the standard library is needed.
"""

import pathlib
import re
import tomllib

ROOT = pathlib.Path(__file__).resolve().parents[1]
_REQUIREMENT = re.compile(r"([\w.-]+)(?:\[[\w,.-]+\])?\s*>=\s*([\w.]+)\s*(?:,\s*<\s*[\w.]+)?")


def lowest(project):
    """Constraints, sorted.

    Args:
        project: dict, the table `project` of pyproject.toml.

    Returns:
        list of `"name==version"`.

    Raises:
        ValueError: for a requirement without a lower bound, or with two of them.
    """
    extras = project.get("optional-dependencies", {})
    bounds = {}
    for requirement in [
        *project["dependencies"],
        *(one for some in extras.values() for one in some),
    ]:
        match = _REQUIREMENT.fullmatch(requirement)
        if match is None:
            raise ValueError(f"Received the requirement {requirement!r}; expected name>=version.")
        name, version = match.groups()
        if bounds.setdefault(name, version) != version:
            raise ValueError(f"{name} has the lower bounds {bounds[name]} and {version}; use one.")
    return sorted(f"{name}=={version}" for name, version in bounds.items())


if __name__ == "__main__":
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    print(*lowest(tomllib.loads(text)["project"]), sep="\n")
