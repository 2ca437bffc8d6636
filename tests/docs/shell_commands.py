"""What the commands in the pages do here: run, or checked as far as their arguments go.

`espmedsam` runs in this process. Of `python SCRIPT`, where the script is one of the repository's,
and of `make`, `pip` and `pytest` it is checked that what they name exists: they take minutes, or
change the machine.
"""

import argparse
import contextlib
import functools
import importlib.util
import io
import itertools
import os
import re
import runpy
import subprocess
import sys
import tomllib
import traceback
from pathlib import Path

from tests.docs.page_blocks import ROOT

# Programs of others, which need an account, a repository, a device or the network.
_OF_OTHERS = ("adb", "git", "hf", "pre-commit")


def table(is_run, count):
    """`dict of name to function(arguments)` for `shell_blocks.run`.

    Args:
        is_run: whether `espmedsam` runs; else its arguments and configurations are checked.
        count: `count(what)` is called for each command.
    """

    def counted(what, function):
        def call(arguments):
            count(what)
            return _guarded(function, arguments)

        return call

    commands = {
        "espmedsam": counted("run", espmedsam) if is_run else counted("checked", espmedsam_usage),
        "torchrun": counted("checked", torchrun),
        "pytest": counted("checked", pytest),
        "pip": counted("checked", pip),
        "make": counted("checked", make),
    }
    for name in ("python", "python3"):
        commands[name] = counted("checked", python)
    for name in _OF_OTHERS:
        commands[name] = counted("not run", lambda arguments: (0, "", ""))
    return commands


def _guarded(function, arguments):
    try:
        return function(arguments)
    except AssertionError as error:
        return 1, "", f"{error}\n"
    except Exception:
        return 1, "", traceback.format_exc(limit=-4)


def espmedsam(arguments):
    """Run the command."""
    from typer.testing import CliRunner

    from keras_espmedsam.cli.app import app

    result = CliRunner().invoke(app, arguments, prog_name="espmedsam")
    errors = result.stderr
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        errors += "".join(traceback.format_exception(result.exception, limit=-6))
    return result.exit_code, result.stdout, errors


def espmedsam_usage(arguments):
    """Parse the arguments of the command, and check the configuration that they name."""
    import typer

    from keras_espmedsam.cli.app import app

    def checked(name):
        def callback(**given):
            if name in ("train", "distill"):
                check_configuration(name, given["config"], given["changes"] or ())

        return callback

    program = typer.main.get_command(app)
    groups = [program]
    for group in groups:
        groups += [one for one in group.commands.values() if hasattr(one, "commands")]
        for name, one in group.commands.items():
            if not hasattr(one, "commands"):
                one.callback = checked(name)
    return _output_of(lambda: program(list(arguments), prog_name="espmedsam"))


def check_configuration(command, source, changes=()):
    """Validate a configuration, a file or a dict, whose data need not be there.

    Args:
        command: "train" or "distill".
        source, changes: of `load_settings`.
    """
    from keras_espmedsam.distillation import DistillConfig
    from keras_espmedsam.training import TrainConfig
    from keras_espmedsam.training.config.settings import load_settings

    load_settings({"train": TrainConfig, "distill": DistillConfig}[command], source, list(changes))


def torchrun(arguments):
    """The program that it would start, once."""
    assert "espmedsam" in arguments, f"torchrun starts what is not known here: {arguments}"
    return espmedsam_usage(arguments[arguments.index("espmedsam") + 1 :])


def python(arguments):
    """Check the script or the module, and its arguments; run a script that the page has made."""
    if arguments[:1] == ["-m"]:
        module, *rest = arguments[1:]
        if module in ("pip", "pytest"):
            return {"pip": pip, "pytest": pytest}[module](rest)
        assert importlib.util.find_spec(module), f"there is no module {module}"
        return 0, "", ""
    if arguments[:1] == ["-c"]:
        return _output_of(lambda: exec(arguments[1], {"__name__": "__main__"}))
    script, *rest = arguments
    if Path(script).resolve().is_relative_to(ROOT):
        return script_usage(Path(script).resolve(), rest)
    with _program(script, rest):
        return _output_of(lambda: runpy.run_path(script, run_name="__main__"))


def script_usage(script, arguments):
    """Check the arguments of a script of the repository, as far as it parses them with argparse."""
    source = script.read_text(encoding="utf-8")
    if "ArgumentParser" not in source:
        for word in arguments:
            assert not word.startswith("-") or f'"{word.partition("=")[0]}"' in source, word
        return 0, "", ""

    class Parsed(BaseException):
        pass

    parse = argparse.ArgumentParser.parse_args

    def parse_only(self, *args, **kwargs):
        parse(self, *args, **kwargs)
        raise Parsed

    errors = io.StringIO()
    argparse.ArgumentParser.parse_args = parse_only
    try:
        with _program(str(script), arguments), contextlib.redirect_stderr(errors):
            runpy.run_path(str(script), run_name="__main__")
        raise AssertionError(f"{script.name} ran, without reading its arguments")
    except Parsed:
        return 0, "", ""
    except SystemExit as end:
        return int(end.code or 0), "", errors.getvalue()
    finally:
        argparse.ArgumentParser.parse_args = parse


@contextlib.contextmanager
def _program(script, arguments):
    """As if the script were the program: its arguments, and the folder that it imports from."""
    before = sys.argv, list(sys.path), set(sys.modules), dict(os.environ)
    folder = str(Path(script).resolve().parent)
    sys.argv = [script, *arguments]
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.argv, sys.path[:] = before[0], before[1]
        for name in set(sys.modules) - before[2]:
            if str(getattr(sys.modules[name], "__file__", "")).startswith(folder):
                del sys.modules[name]
        os.environ.clear()
        os.environ.update(before[3])


def _output_of(function):
    out, err = io.StringIO(), io.StringIO()
    code = 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            function()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(bool(end.code))
        except Exception:
            traceback.print_exc(limit=-4)
            code = 1
    return code, out.getvalue(), err.getvalue()


def pytest(arguments):
    """Check that the paths of tests exist."""
    for path in arguments:
        path = path.partition("::")[0]
        if "/" in path and not path.startswith("-"):
            assert (ROOT / path).exists(), f"there is no {path}"
    return 0, "", ""


def pip(arguments):
    """Check that extras and groups are those of pyproject.toml."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    project = tomllib.loads(text)
    known = {
        "extra": set(project["project"]["optional-dependencies"]),
        "group": set(project["dependency-groups"]),
    }
    named = [("group", two) for one, two in itertools.pairwise(arguments) if one == "--group"]
    for argument in arguments:
        found = re.fullmatch(r"(?:\.|keras[-_]espmedsam|.*/)\[(.*?)\].*", argument)
        named += [("extra", one.strip()) for one in found[1].split(",")] if found else []
        named += [("group", argument[8:])] if argument.startswith("--group=") else []
    for kind, name in named:
        assert name in known[kind], f"pyproject.toml has no {kind} {name}"
    return 0, "", ""


def make(arguments):
    """Check that the targets are in the Makefile."""
    for target in arguments:
        if "=" not in target and not target.startswith("-"):
            assert target in _targets(), f"the Makefile has no target {target}"
    return 0, "", ""


@functools.cache
def _targets():
    database = subprocess.run(
        ["make", "-pRrq", "-C", str(ROOT), ":"], capture_output=True, text=True
    ).stdout
    return set(re.findall(r"^([\w-]+):(?!=)", database, re.MULTILINE))
