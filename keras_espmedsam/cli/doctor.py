"""`espmedsam doctor`: what is installed, and whether it works."""

import hashlib
import json
import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.table import Table

from keras_espmedsam._startup import BACKENDS, choose_backend, import_with_keras
from keras_espmedsam.cli.console import SOME_FAILED, errors_reported, stdout
from keras_espmedsam.errors import InputError
from keras_espmedsam.hub.built_in_presets import builtin_presets, weights_are_elsewhere
from keras_espmedsam.hub.checksums import CHECKSUMS_FILE, check_checksums

_PACKAGE = "keras-espmedsam"


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Check the installation, and print what a bug report needs.

    Prints versions, the backend and its devices, and whether the built-in presets match their
    checksums. Nothing printed names a path, a user, a host or a file of yours.

    Exit code: 0, all is well; 1, a problem was found.

    \b
    Examples:
      espmedsam doctor
      KERAS_BACKEND=torch espmedsam doctor
      espmedsam doctor --json
    """
    with errors_reported():
        report = examine()
        if as_json:
            typer.echo(json.dumps(report, indent=2))
        else:
            _show(report)
    if report["problems"]:
        raise typer.Exit(SOME_FAILED)


def examine() -> dict[str, Any]:
    """Examine the installation.

    Returns:
        dict with the keys `system` and `packages` (dicts of text), `backend` (dict of its name and
        devices), `presets` (dict of name to state) and `problems` (list of sentences, empty if all
        is well). It holds no path and no name of a user, host or file.

    Example:
        >>> sorted(examine())
        ['backend', 'packages', 'presets', 'problems', 'system']
    """
    problems: list[str] = []
    packages = _packages(problems)
    return {
        "system": {
            "python": f"{platform.python_implementation()} {platform.python_version()}",
            "system": f"{platform.system()} {platform.machine()}",
            "cores": str(os.cpu_count()),
        },
        "packages": packages,
        "backend": _backend(problems),
        "presets": _presets(problems),
        "problems": problems,
    }


def _packages(problems):
    """Versions of this package and of everything it can use, required or not."""
    from packaging.requirements import Requirement

    try:
        requirements = [Requirement(one) for one in metadata.requires(_PACKAGE) or ()]
    except metadata.PackageNotFoundError:
        problems.append(f"{_PACKAGE} is not installed; install it with pip.")
        return {}
    found = {_PACKAGE: metadata.version(_PACKAGE)}
    for requirement in sorted(requirements, key=lambda one: one.name.lower()):
        extra = requirement.marker is not None and "extra" in str(requirement.marker)
        try:
            version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            version = None
        found[requirement.name] = version or "not installed"
        if version is None and not extra:
            problems.append(f"{requirement.name} is missing; install {_PACKAGE} again with pip.")
        if version is not None and not requirement.specifier.contains(version, prereleases=True):
            sentence = (
                f"{requirement.name} {version} is installed; {_PACKAGE} needs "
                f'{requirement.specifier}. Run: pip install "{requirement.name}'
                f'{requirement.specifier}"'
            )
            if sentence not in problems:  # Several extras name the same package.
                problems.append(sentence)
    return found


def _backend(problems):
    """The backend that Keras starts on and its devices; one sum is computed on it."""
    try:
        name = choose_backend()
    except ImportError as error:
        problems.append(str(error))
        return {"name": "none", "devices": "none"}
    if name not in BACKENDS:
        problems.append(
            f"KERAS_BACKEND or keras.json names a backend that is not supported; expected one of "
            f"{', '.join(BACKENDS)}."
        )
        return {"name": "unsupported", "devices": "unknown"}
    try:
        keras = import_with_keras("keras")
        total = float(keras.ops.sum(keras.ops.ones((2, 3))))
        # Imported here because it needs Keras.
        from keras_espmedsam.training.devices.device_names import device_names

        devices = device_names()
    except Exception as error:  # Whatever a broken installation raises is what is looked for.
        # Not its text, which may hold paths.
        cause = type(error.__cause__ if isinstance(error, InputError) else error).__name__
        problems.append(
            f"The backend {name} does not start ({cause}). See the whole error with: "
            f'KERAS_BACKEND={name} python -c "import keras"'
        )
        return {"name": name, "devices": "unknown"}
    if total != 6:
        problems.append(f"The backend {name} computes 2 x 3 ones to {total}; install it again.")
    return {"name": name, "devices": ", ".join(devices)}


def _presets(problems):
    """Each built-in preset, and whether its files are what was published."""
    try:
        known = builtin_presets(earlier=True)
    except InputError as error:
        problems.append(str(error))
        return {}
    found = {}
    for name, entry in known.items():
        folder = Path(entry["path"])
        if not entry["weights"]:
            found[name] = "no weights in the package"
        elif not (folder / CHECKSUMS_FILE).is_file():
            found[name] = "no checksums"
            problems.append(f"The preset {name} has no {CHECKSUMS_FILE}; install {_PACKAGE} again.")
        else:
            listed = (folder / CHECKSUMS_FILE).read_bytes()
            found[name] = f"checksums match ({hashlib.sha256(listed).hexdigest()[:12]})"
        try:
            check_checksums(folder, weights=not weights_are_elsewhere(folder))
        except (InputError, OSError):
            found[name] = "damaged"
            problems.append(
                f"A file of the preset {name} is missing, damaged or changed; install {_PACKAGE} "
                f"again. `espmedsam presets {name}` says which file it is."
            )
    return found


def _show(report):
    table = Table(box=box.SIMPLE_HEAD, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for part in ("system", "packages", "backend", "presets"):
        table.add_section()
        for name, value in report[part].items():
            table.add_row("backend" if (part, name) == ("backend", "name") else name, value)
    console = stdout()
    console.print(table)
    for problem in report["problems"]:
        console.print(f"problem: {problem}", markup=False)
    if not report["problems"]:
        console.print("No problems found.")
