"""The page of every key of a configuration, from the classes that check it."""

import json
from typing import Any

import pydantic
from docs_attributes import attribute_docstrings

from keras_espmedsam.distillation.phases.named_phase import named_phase
from keras_espmedsam.registries import distillation_phases
from keras_espmedsam.training import DistillConfig, TrainConfig

_HEAD = """# Configuration

Every key of the YAML files of [`espmedsam train`](commands.md#espmedsam-train) and
[`espmedsam distill`](commands.md#espmedsam-distill). An unknown key or a value out of bounds stops
the command before it does anything. `--set KEY=VALUE` changes a key for one run, such as
`--set phases.0.epochs=5`. To start from a complete file, copy
[train.yaml](../../examples/configs/train.yaml) or
[distill.yaml](../../examples/configs/distill.yaml).

"""
_PHASES = """### Defaults of each phase { #distill-phase-defaults }

| phase | epochs | learning rate | needs | keys of its own |
|---|---|---|---|---|
"""


def configuration_page() -> str:
    """The page, in Markdown."""
    return (
        f"{_HEAD}## espmedsam train {{ #train }}\n\n{Keys(TrainConfig).tables('train')}"
        f"## espmedsam distill {{ #distill }}\n\n{Keys(DistillConfig).tables('distill')}"
        f"{_phases()}"
    )


def _phases():
    lines = []
    for name in distillation_phases.names():
        phase = named_phase(name)
        needs, own = (", ".join(f"`{key}`" for key in keys) for keys in (phase.needs, phase.keys))
        lines.append(f"| `{name}` | {phase.epochs} | {phase.learning_rate:g} | {needs} | {own} |\n")
    return _PHASES + "".join(lines)


class Keys:
    """The keys of one configuration.

    Args:
        config: subclass of `pydantic.BaseModel`.
    """

    def __init__(self, config: type[pydantic.BaseModel]):
        self.schema = config.model_json_schema()
        self.meanings = {
            one.__name__: attribute_docstrings(one) for one in {config, *_sections(config)}
        }

    def section_of(self, prop: dict[str, Any]) -> dict[str, Any] | None:
        """The section that a key, or each entry of its list, is; None of a plain value.

        Args:
            prop: what the schema says of the key.
        """
        for one in (prop, prop.get("items", {}), *prop.get("anyOf", ())):
            if "$ref" in one:
                return self.schema["$defs"][one["$ref"].rpartition("/")[2]]
        return None

    def sections(self) -> list[tuple[tuple[str, ...], dict[str, Any]]]:
        """Every section with the path of keys to it, the whole first, each before those in it."""
        return self._below((), self.schema)

    def _below(self, path, section):
        found = [(path, section)]
        for key, prop in section["properties"].items():
            inner = self.section_of(prop)
            if inner is not None:
                found += self._below((*path, key), inner)
        return found

    def meaning(self, section: dict[str, Any], key: str) -> str:
        """What a key of a section means, or '' if its class does not say.

        Args:
            section: as `sections` gives it.
            key: its name.
        """
        return self.meanings[section["title"]].get(key, "")

    def tables(self, prefix: str) -> str:
        """A table for each section, in Markdown.

        Args:
            prefix: of the headings' anchors.
        """
        lists: set[tuple[str, ...]] = set()
        text = ""
        for path, section in self.sections():
            if path:
                # In a list, the first entry stands for all.
                names = [key + ".0" * (path[: i + 1] in lists) for i, key in enumerate(path)]
                text += f"### `{'.'.join(names)}` {{ #{'-'.join((prefix, *path))} }}\n\n"
            text += "| key | type | default | meaning |\n|---|---|---|---|\n"
            for key, prop in section["properties"].items():
                if prop.get("type") == "array":
                    lists.add((*path, key))
                text += self._line(prefix, path, section, key, prop)
            text += "\n"
        return text

    def _line(self, prefix, path, section, key, prop):
        name, default = f"`{key}`", f"`{json.dumps(prop.get('default'))}`"
        if key in section.get("required", ()):
            default = "required"
        if self.section_of(prop) is not None:
            name = f"[{name}](#{'-'.join((prefix, *path, key))})"
            if prop.get("default"):
                default = "as below"
        if (prefix, path, key) == ("distill", ("phases",), "epochs"):
            default = "[by phase](#distill-phase-defaults)"
        kinds = dict.fromkeys(_kind(one) for one in prop.get("anyOf", [prop]))
        return f"| {name} | {' or '.join(kinds)} | {default} | {self.meaning(section, key)} |\n"


def _sections(config):
    """The classes of the sections of a configuration, and of those in them."""
    for field in config.model_fields.values():
        for one in _classes(field.annotation):
            yield one
            yield from _sections(one)


def _classes(annotation):
    if isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel):
        yield annotation
    for inner in getattr(annotation, "__args__", ()):
        yield from _classes(inner)


_TYPES = {"string": "text", "integer": "whole number", "boolean": "true or false"}


def _kind(prop):
    """A type with its bounds, in words."""
    values = prop.get("enum", [prop["const"]] if "const" in prop else None)
    if values:
        return " or ".join(f"`{value}`" for value in values)
    if "$ref" in prop:
        return "section"
    if "prefixItems" in prop:
        return "list of two numbers"
    if "anyOf" in prop:
        return " or ".join(map(_kind, prop["anyOf"]))
    kind = prop.get("type", "text or mapping")
    if kind == "array":
        inner = _kind(prop["items"])
        return f"list of {'sections' if inner == 'section' else inner}"
    if kind == "object":
        values = prop.get("additionalProperties")
        return f"mapping to {_kind(values)}" if isinstance(values, dict) else "mapping"
    if prop.get("format") == "path":
        return "path"
    return _TYPES.get(kind, kind) + _bounds(prop)


def _bounds(prop):
    bounds = [
        f"{words} {prop[key]}"
        for key, words in (
            ("minimum", "at least"),
            ("exclusiveMinimum", "above"),
            ("maximum", "at most"),
            ("exclusiveMaximum", "below"),
        )
        # What a computer counts to is no bound to write down.
        if key in prop and prop[key] < 2**31 - 1
    ]
    return f", {' and '.join(bounds)}" if bounds else ""
