"""Build sdist and wheel, check both, and use each in a new environment.

    make release-check
    python tools/release_check.py --versions newest --backend torch --python python3.13
    python tools/release_check.py --tag v0.2.0 --built dist      # as the release does

In each environment `espmedsam doctor` runs, an image is segmented, and for the sdist some of its
own tests run. Lowest versions need Python 3.11, of which alone all of them have wheels. It needs
`build` and `twine`, a package index, and 5 GB of disk for one environment at a time.
"""

import argparse
import os
import pathlib
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile

import lowest

ROOT = pathlib.Path(__file__).resolve().parents[1]
TESTS = (
    "tests/losses",
    "tests/metrics",
    "tests/hub",
    "tests/imaging",
    "tests/models/test_segment.py",
)
IN_THE_WHEEL = (
    "keras_espmedsam/py.typed",
    "keras_espmedsam/cli/main.py",
    "keras_espmedsam/presets/espmedsam_nano_256/model.weights.h5",
)
NOT_IN_THE_WHEEL = ("tests/", "docs/", "tools/", "benchmarks/", "examples/", "presets/", ".github/")
IN_THE_SDIST = (
    *("CHANGELOG.md", "CONTRIBUTING.md", "ARCHITECTURE.md", "LICENSE", "Makefile", "mkdocs.yml"),
    *("tests/conftest.py", "docs/index.md", "tools/release_check.py"),
    "presets/espmedsam_nano_256/model.weights.h5",
)
MAKE_IMAGE = """
import numpy as np
from PIL import Image
y, x = np.mgrid[:96, :128]
disc = (y - 48) ** 2 + (x - 64) ** 2 < 900
image = np.stack([np.where(disc, 220, 90)] * 3, axis=-1).astype("uint8")
Image.fromarray(image).save("image.png")
"""
LOOK = """
import numpy as np
from PIL import Image
mask = np.asarray(Image.open("masks/image_mask.png"))
assert mask.shape == (96, 128) and set(np.unique(mask)) <= {0, 255}, (mask.shape, np.unique(mask))
"""


def main(arguments=None):
    """Run all checks; the first that fails ends the program."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tag", help="of the release: v and the version")
    parser.add_argument("--built", type=pathlib.Path, help="a folder with sdist and wheel")
    parser.add_argument("--only", choices=("wheel", "sdist"), help="of the two installations")
    parser.add_argument("--versions", choices=("lowest", "newest"), default="lowest")
    parser.add_argument("--backend", choices=("tensorflow", "jax", "torch"), default="tensorflow")
    parser.add_argument("--python", default=sys.executable, help="interpreter of the environments")
    options = parser.parse_args(arguments)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    if options.tag:
        check_tag(options.tag, project["version"])
    with tempfile.TemporaryDirectory(prefix="release_check_") as folder:
        folder = pathlib.Path(folder)
        built = options.built or folder / "dist"
        if options.built is None:
            run(sys.executable, "-m", "build", "--outdir", built, ROOT)
        wheel, sdist = check_built(built.resolve(), project["version"])
        run(sys.executable, "-m", "twine", "check", "--strict", wheel, sdist)
        for file in (wheel, sdist):
            if options.only not in (None, "wheel" if file is wheel else "sdist"):
                continue
            with tempfile.TemporaryDirectory(prefix="environment_", dir=folder) as place:
                use(file, pathlib.Path(place), project, options)
    print("All checks passed.")


def check_tag(tag, version):
    """Raise `SystemExit` unless a tag is that of a version."""
    if tag != f"v{version}":
        raise SystemExit(f"Received the tag {tag} for version {version}; expected v{version}.")


def check_built(folder, version):
    """The wheel and the sdist of a folder, after a look at what they hold.

    Raises:
        SystemExit: if one is missing, is there twice, or lacks a file.
    """
    found = []
    for pattern in (f"keras_espmedsam-{version}-*.whl", f"keras_espmedsam-{version}.tar.gz"):
        files = sorted(folder.glob(pattern))
        if len(files) != 1:
            raise SystemExit(f"Found {len(files)} files {pattern} in {folder}; expected one.")
        found += files
    wheel, sdist = found
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    _check_names(wheel.name, names, IN_THE_WHEEL)
    extra = [name for name in names if name.startswith(NOT_IN_THE_WHEEL)]
    if extra:
        raise SystemExit(f"{wheel.name} holds {extra[0]}, which belongs in the sdist alone.")
    _check_no_earlier_weights(wheel.name, names)
    with tarfile.open(sdist) as archive:
        names = [name.partition("/")[2] for name in archive.getnames()]
    _check_names(sdist.name, names, IN_THE_SDIST)
    _check_no_earlier_weights(sdist.name, names)
    return wheel, sdist


def _check_no_earlier_weights(archive, names):
    for name in names:
        if "@" in name and name.endswith(".h5"):
            raise SystemExit(
                f"{archive} holds {name}, the weights of an earlier version; they belong in the "
                "wheel of tools/earlier_presets.py."
            )


def use(file, place, project, options):
    """Install a file into a new environment, and use what it installs."""
    run(options.python, "-m", "venv", place / "venv")
    binaries = place / "venv" / ("Scripts" if os.name == "nt" else "bin")
    python = binaries / "python"
    command = [python, "-m", "pip", "install", "--quiet"]
    if options.versions == "lowest":
        constraints = place / "lowest.txt"
        constraints.write_text("\n".join(lowest.lowest(project)), encoding="utf-8")
        command += ["--constraint", constraints]
    tests = file.name.endswith(".tar.gz")
    extras = f"[{options.backend},medical,train]"
    run(*command, f"{file}{extras}", *(["pytest"] if tests else []))
    work = place / "work"
    work.mkdir()
    environment = {
        **{name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        "KERAS_BACKEND": options.backend,
        "TF_CPP_MIN_LOG_LEVEL": "2",
    }
    espmedsam = binaries / "espmedsam"
    run(python, "-m", "pip", "check")
    run(espmedsam, "doctor", cwd=work, env=environment)
    run(python, "-c", MAKE_IMAGE, cwd=work, env=environment)
    command = ("segment", "image.png", "--modality", "dermoscopy", "--output", "masks")
    run(espmedsam, *command, cwd=work, env=environment)
    run(python, "-c", LOOK, cwd=work, env=environment)
    if tests:
        with tarfile.open(file) as archive:
            archive.extractall(place, filter="data")
        source = place / file.name.removesuffix(".tar.gz")
        run(python, "-m", "pytest", "-q", *TESTS, cwd=source, env=environment)


def run(*command, **options):
    """Print a command and run it; one that fails ends the program."""
    command = [str(part) for part in command]
    print("+", *(part if "\n" not in part else "..." for part in command), flush=True)
    done = subprocess.run(command, **options)
    if done.returncode:
        raise SystemExit(f"The command ended with exit code {done.returncode}.")


def _check_names(file, names, expected):
    missing = sorted(set(expected) - set(names))
    if missing:
        raise SystemExit(f"{file} lacks {', '.join(missing)}.")


if __name__ == "__main__":
    main()
