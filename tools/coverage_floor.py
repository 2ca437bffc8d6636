"""Compare which lines the tests ran with the floors of tools/coverage_floor.json.

    make coverage                      # all tests on all backends, then this
    python tools/coverage_floor.py .coverage-data/coverage.json [--tests torch]

The floors of all tests together, and of those without a backend and on PyTorch, which CI measures:
noting lines takes half as long again. They only rise: `module` of each file, `total` of all that
are not listed. A file that stays below is listed under `below`, with its own floor and the reason
why its lines are not run. Exit code 1 when something is below its floor, or a reason is given for a
file that needs none any more.
"""

import argparse
import json
import pathlib
import sys

FLOORS = pathlib.Path(__file__).with_name("coverage_floor.json")
# How far above the floor is worth raising it.
WORTH_RAISING = 0.5
# How far above the floor of all files one that is listed may be.
LEEWAY = 8


def faults(measured, floors):
    """What is wrong, as sentences.

    Args:
        measured: dict, as `coverage json` writes it.
        floors: dict with `total`, `module` and `below`.
    """
    total = total_percent(measured, floors)
    if total < floors["total"]:
        yield f"All files: {total:.2f} % of the lines are run; the floor is {floors['total']} %."
    files = {
        name: entry["summary"]["percent_covered"]
        for name, entry in measured["files"].items()
        if entry["summary"]["num_statements"]
    }
    for name, percent in sorted(files.items()):
        below = floors["below"].get(name)
        floor = below["floor"] if below else floors["module"]
        if percent < floor:
            yield (
                f"{name}: {percent:.1f} % of the lines are run; the floor is {floor} %. Not run: "
                f"{ranges(measured['files'][name]['missing_lines'])}."
            )
        # What runs in threads and other processes is noted in some runs and not in others.
        elif below and percent >= floors["module"] + LEEWAY:
            yield f"{name}: {percent:.1f} % of the lines are run; take it out of `below`."
    for name in sorted(set(floors["below"]) - set(files)):
        yield f"{name} is listed under `below` and is no file of the package."


def total_percent(measured, floors):
    """Of the lines of all files that are not listed: what another backend runs is no loss here."""
    summaries = [
        entry["summary"] for name, entry in measured["files"].items() if name not in floors["below"]
    ]
    lines = sum(one["num_statements"] for one in summaries)
    return 100 * sum(one["covered_lines"] for one in summaries) / max(lines, 1)


def ranges(lines):
    """Line numbers for reading.

    Example:
        >>> ranges([3, 4, 5, 9])
        '3-5, 9'
    """
    runs = []
    for line in sorted(lines):
        if runs and line == runs[-1][1] + 1:
            runs[-1][1] = line
        else:
            runs.append([line, line])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path", help="a file of `coverage json`")
    parser.add_argument("--tests", choices=("all", "torch"), default="all", help="which were run")
    options = parser.parse_args()
    measured = json.loads(pathlib.Path(options.path).read_text(encoding="utf-8"))
    floors = json.loads(FLOORS.read_text(encoding="utf-8"))[options.tests]
    found = list(faults(measured, floors))
    for sentence in found:
        print(sentence)
    total = total_percent(measured, floors)
    if total >= floors["total"] + WORTH_RAISING:
        print(f"The floor can rise: write {int(10 * total) / 10} as `total` of {options.tests}.")
    print(f"Coverage of the tests ({options.tests}): {total:.2f} % (floor {floors['total']} %).")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
