"""The page of errors, warnings and exit codes, from the classes and the commands."""

import inspect
import re

import typer
from docs_commands import walk_commands

from keras_espmedsam.cli.app import app

_HEAD = """# Errors and exit codes

If you can fix the problem yourself, the package raises an `InputError`: one sentence that says what
was received, what was expected and what to do. The command prints it as `error: ...`, without a
traceback. Any other exception is a bug: please report it with the output of `espmedsam doctor`.
[Troubleshooting](../how-to/troubleshooting.md) explains the messages one by one.

"""


def errors_page() -> str:
    """The page, in Markdown for mkdocstrings."""
    return f"{_HEAD}## Exit codes\n\n{_exit_codes()}\n## Classes\n\n{_classes()}"


def _exit_codes():
    lines = ["| command | exit code |\n|---|---|\n"]
    for name, command in walk_commands(typer.main.get_command(app), "espmedsam"):
        found = re.search(r"Exit code: (.+?)(?:\n\s*\n|\Z)", command.help or "", re.DOTALL)
        if found:
            lines.append(f"| `{name}` | {' '.join(found[1].split())} |\n")
    return "".join(lines)


def _classes():
    from keras_espmedsam import errors
    from keras_espmedsam.evaluation import MetricError

    classes = [
        one
        for one in vars(errors).values()
        if inspect.isclass(one) and one.__module__ == errors.__name__
    ]
    lines = ["| class | is a | meaning |\n|---|---|---|\n"]
    for one, room in [*((one, "errors") for one in classes), (MetricError, "evaluation")]:
        link = f"[`{one.__name__}`](api/{room}.md#keras_espmedsam.{room}.{one.__name__})"
        meaning = inspect.cleandoc(one.__doc__ or "").split("\n\n")[0].replace("\n", " ")
        lines.append(f"| {link} | `{one.__base__.__name__}` | {meaning} |\n")
    return "".join(lines)
