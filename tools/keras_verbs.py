"""Run the test of Keras' verbs on each backend and write docs/reference/keras_verbs.md from it.

    python tools/keras_verbs.py [--backends torch tensorflow jax]
    python tools/keras_verbs.py --reports torch=torch.xml jax=jax.xml     # of `pytest --junitxml`

Without reports it runs the tests itself.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
TESTS = ["tests/models/test_keras_verbs.py"]
OUTPUT = REPOSITORY / "docs" / "reference" / "keras_verbs.md"
BACKENDS = ("tensorflow", "jax", "torch")
SAME = "as in Keras"
HEAD = """# The verbs of Keras and keras-hub

What a user of Keras may call on our models, and what it does: each row was tried on the backends by
`tests/models/test_keras_verbs.py`, which compares numbers. "{same}" is what Keras documents.
Written by `python tools/keras_verbs.py`; do not edit.

`export` is in [export.md](../how-to/export.md); LoRA is tested in `tests/models/test_lora.py`.

| verb | models | {backends} |
|---|---|{lines}
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backends", nargs="+", default=BACKENDS, choices=BACKENDS)
    parser.add_argument("--reports", nargs="+", metavar="BACKEND=FILE", help="of runs already done")
    arguments = parser.parse_args()
    if arguments.reports:
        found = {name: read(path) for name, path in (one.split("=") for one in arguments.reports)}
    else:
        found = {backend: run(backend) for backend in arguments.backends}
    OUTPUT.write_text(table(found), encoding="utf-8")
    failed = sum(result == "FAILED" for rows in found.values() for _, result in rows.values())
    print(f"Wrote {OUTPUT.relative_to(REPOSITORY)}; {failed} failed.")
    sys.exit(failed > 0)


def run(backend):
    """dict of (verb, model) to where the test is in its file and what was found."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-m", "", f"--junitxml={report}", *TESTS],
            cwd=REPOSITORY,
            env={**os.environ, "KERAS_BACKEND": backend},
            check=False,
        )
        return read(report)


def read(report):
    """The same of a report that may hold other tests too."""
    cases = [
        case
        for case in ElementTree.parse(report).getroot().iter("testcase")
        if case.get("classname", "").endswith("test_keras_verbs")
    ]
    return dict(map(_result, cases))


def _result(case):
    # Of `test_verb[clone_model-segmenter]` the function between.
    function = case.get("name").partition("[")[2].rpartition("-")[0]
    number = _place(f"\ndef {function}(")
    properties = {one.get("name"): one.get("value") for one in case.iter("property")}
    key = properties["verb"], properties["model"]
    if case.find("skipped") is not None:
        return key, (number, "skipped")
    failed = case.find("failure") is not None or case.find("error") is not None
    return key, (number, "FAILED" if failed else properties["outcome"])


def table(found):
    """The document: a row per verb, in the order of the tests."""
    order = {}
    for rows in found.values():
        for (verb, _), (number, _) in rows.items():
            order.setdefault(verb, number)
    backends = " | ".join(found)
    text = HEAD.format(same=SAME, backends=backends, lines="---|" * len(found))
    for verb in sorted(order, key=order.get):
        models = _models(found, verb)
        cells = [verb, ", ".join(models)]
        for rows in found.values():
            results = [result for (name, _), (_, result) in rows.items() if name == verb]
            cells.append("; ".join(dict.fromkeys(_shortened(result) for result in results)) or "-")
        text += "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"
    return text


def _models(found, verb):
    models = {model for rows in found.values() for name, model in rows if name == verb}
    return sorted(models, key=lambda model: _place(f'"{model}"'))


def _place(text):
    """Where the tests name something first: processes that share them run them in any order."""
    return (REPOSITORY / TESTS[0]).read_text(encoding="utf-8").find(text)


def _shortened(result):
    """Refusals of several models differ in names alone: the first of each kind tells enough."""
    return result if len(result) < 160 else result[:157] + "..."


if __name__ == "__main__":
    main()
