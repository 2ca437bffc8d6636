"""List what breaks programs that were written for the last release.

    make api-check
    python tools/api_changes.py --against v0.1.0

griffe compares the signatures of the two versions. A name that has moved is no break while Python
still finds it under its old name. Every other break has to be in tools/accepted_breaks.toml with
its reason; the exit code is 1 if one is not, or if the file lists one that is not found.
"""

import argparse
import importlib
import pathlib
import subprocess
import sys
import tomllib
import warnings

import griffe

ROOT = pathlib.Path(__file__).resolve().parents[1]
PACKAGE = "keras_espmedsam"
ACCEPTED = pathlib.Path(__file__).with_name("accepted_breaks.toml")
# Version 0.1.0 has no tag; this commit saved what tests/presets/version_0_1_0 holds.
VERSION_0_1_0 = "8b4bc7b"


def main(arguments=None):
    """Print the breaks; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--against", metavar="REF", help="a tag or commit; default: the last tag")
    options = parser.parse_args(arguments)
    against = options.against or last_tag() or VERSION_0_1_0
    accepted = tomllib.loads(ACCEPTED.read_text(encoding="utf-8"))["accepted"]
    breaks = breaks_since(against)
    still_there = [one for one in breaks if one[0] == "OBJECT_REMOVED" and is_found(one[1])]
    left, used = [], set()
    for one in breaks:
        entry = entry_for(one[1], accepted)
        if one in still_there:
            continue
        if entry is None:
            left.append(one)
        else:
            used.add(entry)
    stale = sorted(set(accepted) - used)
    for _, path, sentence in left:
        print(f"{path}: {sentence}")
    for entry in stale:
        print(f"{entry} is in {ACCEPTED.name}, and is no break: take it out.")
    print(
        f"Against {against}: {len(breaks)} differences; {len(still_there)} are found under their "
        f"old name, {len(breaks) - len(still_there) - len(left)} accepted, {len(left)} not."
    )
    return 1 if left or stale else 0


def last_tag():
    """The newest tag of a version before this commit, or `None`."""
    command = ["git", "describe", "--tags", "--match", "v*", "--abbrev=0", "HEAD^"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else None


def breaks_since(ref):
    """What griffe finds: list of (kind, path, sentence)."""
    try:
        old = griffe.load_git(PACKAGE, ref=ref, repo=ROOT)
    except (griffe.GitError, RuntimeError, OSError) as error:
        raise SystemExit(
            f"git has no {ref} here ({type(error).__name__}). Run this in a full clone, "
            "`git fetch --unshallow --tags`."
        ) from None
    new = griffe.load(PACKAGE, search_paths=[ROOT])
    found = []
    for one in griffe.find_breaking_changes(old, new):
        path = one.obj.path
        sentence = one.kind.value
        if one.kind.name.startswith(("PARAMETER", "RETURN", "ATTRIBUTE")):
            value = getattr(one.new_value, "name", None) or getattr(one.old_value, "name", "")
            sentence = f"{sentence} ({value})" if value else sentence
        found.append((one.kind.name, path, sentence))
    return sorted(set(found))


def is_found(path):
    """Whether Python finds an object under its name of the older version."""
    module, _, name = path.rpartition(".")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            importlib.import_module(path)
        except ImportError:
            return bool(module) and _has(module, name)
    return True


def _has(owner, name):
    try:
        return hasattr(importlib.import_module(owner), name)
    except ImportError:
        module, _, parent = owner.rpartition(".")
        if not module:
            return False
        try:
            return hasattr(getattr(importlib.import_module(module), parent, None), name)
        except ImportError:
            return False


def entry_for(path, accepted):
    """The entry that accepts a break: its path, or a part of the package that it lies in."""
    while path:
        if path in accepted:
            return path
        path = path.rpartition(".")[0]
    return None


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    sys.exit(main())
