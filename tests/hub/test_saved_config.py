"""What a preset says of its model, before anything is built."""

import json
import shutil
from pathlib import Path

import pytest

from keras_espmedsam.errors import InputError
from keras_espmedsam.hub.built_in_presets import builtin_presets, presets_dir, resolve_preset
from keras_espmedsam.hub.saved_config import check_configs, read_config

# Its weights need not be there.
FIRST = Path(resolve_preset("espmedsam_nano_256@1", load_weights=False))
_ENCODER = ("config", "backbone", "config", "image_encoder", "config")
_CONVERTER = ("config", "preprocessor", "config", "image_converter", "config")


@pytest.mark.parametrize("name", sorted(builtin_presets()))
def test_what_was_published_passes(name):
    check_configs(presets_dir() / name)


@pytest.mark.parametrize(
    ("keys", "value", "says"),
    [
        ((*_ENCODER, "depths"), [10**6, 2, 4, 2], "TinyViTBackbone received depths="),
        ((*_ENCODER, "depths"), [-1, 2, 4, 2], "TinyViTBackbone received depths="),
        ((*_ENCODER, "strides"), [0, 2, 2], "received strides="),
        ((*_ENCODER, "num_heads"), [0, 4, 6], "received num_heads_by_stage="),
        ((*_ENCODER, "image_shape"), [10**9, 10**9, 3], "received image_shape="),
        ((*_CONVERTER, "image_size"), [10**9, 10**9], "received image_size="),
        (("config", "backbone", "config", "modalities"), [1, 2], "received 1 among"),
        (("config", "backbone", "config", "num_queries"), 10**9, "received num_queries="),
        (("config",), 5, "has config: 5; expected an object"),
        (("class_name",), None, "has class_name: None; expected a name"),
        (("module",), {}, "has module: {}; expected a name or null"),
        (("config", "backbone", "registered_name"), [], r"config\.backbone\.registered_name"),
        (("config", "backbone"), "x", "has config.backbone: 'x'; expected an object"),
        (("config", "backbone", "config", "image_encoder"), "x", "image_encoder: 'x'; expected an"),
        (("config", "backbone", "config", "self_prompts"), "yes", "self_prompts: 'yes'; expected"),
        ((*_ENCODER, "adapter_zero_init"), 0, "adapter_zero_init: 0; expected true or false"),
        ((*_ENCODER, "name"), [1], r"name: \[1\]; expected a name or null"),
        ((*_CONVERTER, "normalization"), {"a": 1}, "normalization: {'a': 1}; expected a name"),
    ],
)
def test_a_wrong_field_is_named(tmp_path, keys, value, says):
    content = json.loads((FIRST / "task.json").read_text())
    place = content
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    (tmp_path / "task.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"^The file task\.json of the preset .*" + says) as error:
        check_configs(tmp_path)
    assert len(str(error.value)) < 600


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("metadata.json", {"parameter_count": "many"}, "parameter_count: 'many'; expected a whole"),
        ("metadata.json", {"parameter_count": True}, "parameter_count: True; expected a whole"),
        ("metadata.json", {"tasks": "ImageSegmenter"}, "tasks: 'ImageSegmenter'; expected a list"),
        ("metadata.json", {"keras_version": None}, "keras_version: None; expected text"),
        ("metadata.json", [], "expected an object"),
        ("model.weights.json", {}, "weight_map: None; expected an object"),
        ("model.weights.json", {"weight_map": {"a": 5}}, r"weight_map\.a: 5; expected the name"),
        ("model.weights.json", {"weight_map": {"a": ["../b.weights.h5"]}}, "expected the name"),
        ("model.weights.json", {"weight_map": {"a": "c:b.weights.h5"}}, "expected the name"),
        ("model.weights.json", {"weight_map": {"a": "b.bin"}}, "expected the name"),
    ],
)
def test_the_files_beside_are_checked(tmp_path, name, content, says):
    (tmp_path / name).write_text(json.dumps(content))
    with pytest.raises(InputError, match=f"^The file {name} of the preset .*{says}"):
        check_configs(tmp_path)


def test_what_keras_writes_beside_passes(tmp_path):
    shards = ["model_00000.weights.h5", "model_00001.weights.h5"]
    content = {"metadata": {"total_size": 1}, "weight_map": {"a/vars": shards[0], "b": shards}}
    (tmp_path / "model.weights.json").write_text(json.dumps(content))
    (tmp_path / "metadata.json").write_text('{"keras_version": "4", "later": [1]}')
    check_configs(tmp_path)


def test_a_file_that_describes_nothing_is_refused(tmp_path):
    (tmp_path / "preprocessor.json").write_text("{}")
    with pytest.raises(InputError, match="lacks the key class_name"):
        check_configs(tmp_path)


def test_a_link_to_nothing_is_no_file(tmp_path):
    (tmp_path / "task.json").symlink_to(tmp_path / "absent")
    with pytest.raises(InputError, match="is missing, or not a file"):
        check_configs(tmp_path)


def test_a_folder_of_links_is_read(tmp_path):
    """As the cache of Hugging Face's hub is."""
    shutil.copytree(presets_dir() / "tic_tiny", tmp_path / "files")
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "config.json").symlink_to(tmp_path / "files" / "config.json")
    check_configs(tmp_path / "links")
    assert read_config(tmp_path / "links")["class_name"] == "TiCBackbone"
