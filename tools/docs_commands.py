"""The page of every command, with its arguments and options, from the commands themselves."""

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from keras_espmedsam.cli.app import app

_HEAD = """# Commands

Everything that `espmedsam` can do. `espmedsam COMMAND --help` prints the same in a terminal.

"""


def commands_page() -> str:
    """The page, in Markdown."""
    group = typer.main.get_command(app)
    commands = list(walk_commands(group, "espmedsam"))
    lines = [f"- [`{name}`](#{_anchor(name)}): {_first_line(one)}" for name, one in commands]
    return _HEAD + "\n".join(lines) + "\n\n" + "\n".join(_section(*one) for one in commands)


def walk_commands(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Every command below a group, with all its words; a command that is no group is itself.

    Args:
        command: a command or group of click.
        name: its words so far, such as `"espmedsam"`.
    """
    if hasattr(command, "commands"):
        for word, inner in command.commands.items():
            yield from walk_commands(inner, f"{name} {word}")
    else:
        yield name, command


def _anchor(name):
    return name.replace(" ", "-")


def _first_line(command):
    return (command.help or "").strip().split("\n\n")[0].replace("\n", " ")


def _section(name, command):
    parameters = [one for one in command.params if not getattr(one, "hidden", False)]
    arguments = [one for one in parameters if one.param_type_name == "argument"]
    options = [one for one in parameters if one.param_type_name == "option" and one.name != "help"]
    usage = " ".join([name, *(_usage(one) for one in arguments), *(["[OPTIONS]"] * bool(options))])
    required = [one for one in options if one.required]
    usage += "".join(f" {one.opts[0]} {_metavar(one)}" for one in required)
    text = f"## {name} {{ #{_anchor(name)} }}\n\n```text\n{usage}\n```\n\n{_help(command)}\n"
    if arguments:
        text += "\n| argument | meaning |\n|---|---|\n"
        text += "".join(f"| `{_usage(one)}` | {_cell(one.help)} |\n" for one in arguments)
    if options:
        text += "\n| option | default | meaning |\n|---|---|---|\n"
        text += "".join(
            f"| {_names(one)} | {_default(one)} | {_cell(one.help)}{_bounds(one)} |\n"
            for one in options
        )
    return text


def _help(command):
    """The docstring as Markdown: what stands after `\\b` keeps its lines."""
    parts = []
    for block in re.split(r"\n\s*\n", inspect.cleandoc(command.help or "")):
        verbatim = block.startswith("\b")
        block = block.lstrip("\b\n")
        if not verbatim:
            parts.append(_upright(block))
            continue
        heading, _, rest = block.partition("\n")
        parts.append(f"{heading}\n\n```text\n{inspect.cleandoc(rest)}\n```")
    return "\n\n".join(parts)


def _upright(text):
    """Text in which Markdown finds no emphasis and no HTML."""
    return re.sub(r"(?<!`)([*_<>\[\]])", r"\\\1", text) if "`" not in text else text


def _cell(text):
    return _upright(" ".join((text or "").split())).replace("|", "\\|")


def _usage(argument):
    name = argument.metavar or argument.name.upper()
    return f"{name}{'...' if argument.nargs == -1 else ''}"


_KINDS = {int: "INTEGER", float: "NUMBER", Path: "PATH"}


def _metavar(option):
    return option.metavar or _KINDS.get(option.type_descriptor.annotation, "TEXT")


def _bounds(option):
    least, most = getattr(option, "min", None), getattr(option, "max", None)
    if least is not None and most is not None:
        return f" From {least:g} to {most:g}."
    return f" At least {least:g}." if least is not None else ""


def _names(option):
    names = ", ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))
    return names if option.is_flag else f"{names} `{_metavar(option)}`"


def _default(option: Any) -> str:
    if option.required:
        return "required"
    default = option.default() if callable(option.default) else option.default
    if option.is_flag:
        return "on" if default else "off"
    if default is None or default == ():
        return "none"
    values = default if isinstance(default, list | tuple) else [default]
    return f"`{' '.join(map(str, values))}`"
