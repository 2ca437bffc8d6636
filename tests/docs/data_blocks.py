"""Blocks of data: configurations are validated, and what else has a parser is parsed.

A block with a title is written to the file of that name. One without is often a part: its sections
replace those of examples/configs, and the whole is validated.
"""

import csv
import json
import tomllib
from pathlib import Path

import yaml

from tests.docs.page_blocks import ROOT

LANGUAGES = ("yaml", "yml", "json", "toml", "csv")
_EXAMPLES = ROOT / "examples" / "configs"


def check(block):
    """Check a `Block` of one of `LANGUAGES`.

    Raises:
        Exception: of the parser or of the configuration, where it is at fault.
    """
    if block.title:
        write(block)
    if block.language == "json":
        json.loads(block.text)
    elif block.language == "toml":
        tomllib.loads(block.text)
    elif block.language == "csv":
        lengths = {len(row) for row in csv.reader(block.text.splitlines())}
        assert len(lengths) == 1, f"rows of several lengths: {sorted(lengths)}"
    else:
        _check_yaml(block)


def write(block):
    """Write a block to the file that its title names, in the working folder."""
    path = Path(block.title)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(block.text, encoding="utf-8")


def _check_yaml(block):
    from keras_espmedsam.distillation import DistillConfig
    from keras_espmedsam.training import TrainConfig
    from keras_espmedsam.training.config.settings import load_settings

    found = yaml.safe_load(block.text)
    if not isinstance(found, dict):
        return
    train, distill = set(TrainConfig.model_fields), set(DistillConfig.model_fields)
    if not found.keys() & (train | distill):
        return
    is_distill = bool(found.keys() & (distill - train))
    if not block.title:
        found = {**_example("distill" if is_distill else "train"), **found}
    load_settings(DistillConfig if is_distill else TrainConfig, found)


def _example(name):
    """The example of a configuration, of which the index is one that is there."""
    found = yaml.safe_load((_EXAMPLES / f"{name}.yaml").read_text(encoding="utf-8"))
    for section in ("data", "common_data"):
        for source in found.get(section, {}).get("sources", ()):
            if "index" in source:
                source["index"] = "$ESPMEDSAM_DATA/index.csv"
    return found
