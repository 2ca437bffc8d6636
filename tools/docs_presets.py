"""The pages of the presets that come with the package, from their cards."""

import re

from keras_espmedsam.hub.built_in_presets import builtin_presets, card_licence, read_card

_HEAD = """# Presets

The presets that come with the package. Pass a name to `--preset` of a command, or to `from_preset`
in Python. A preset without weights is an architecture to train.

A name stands for the newest version of a preset. `NAME@VERSION` stands for the version that you
name, and keeps giving what it gave: write it wherever results have to stay the same.

| preset | version | what it is | parameters | weights | licence |
|---|---|---|---|---|---|
"""


def presets_page() -> str:
    """The table of all presets, in Markdown."""
    lines = []
    for name, entry in builtin_presets(earlier=True).items():
        meta = entry["metadata"]
        weights = "yes" if entry["weights"] else "no"
        lines.append(
            f"| [`{name}`](presets/{name}.md) | {entry['version']} | {meta['description']} "
            f"| {meta['params']:,} | {weights} | {card_licence(name) or ''} |\n"
        )
    return _HEAD + "".join(lines)


def cards() -> dict[str, str]:
    """The cards of all presets by name, in Markdown, without what is for a hub at their top.

    The card of an earlier version was written when it was the newest: its title gets the version.
    """
    found = {}
    for name, entry in builtin_presets(earlier=True).items():
        card = re.sub(r"\A---\n.*?\n---\n+", "", read_card(entry["path"]) or "", flags=re.DOTALL)
        found[name] = card.replace(f"# {name.partition('@')[0]}\n", f"# {name}\n", 1)
    return found
