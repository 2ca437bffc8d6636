"""What a preset says of its model, before anything is built."""

import json
import shutil

import pytest

from keras_espmedsam.errors import InputError
from keras_espmedsam.hub.built_in_presets import builtin_presets, presets_dir
from keras_espmedsam.hub.saved_config import check_configs, read_config

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
    ],
)
def test_a_wrong_field_is_named(tmp_path, keys, value, says):
    content = json.loads((presets_dir() / "espmedsam_nano_256" / "task.json").read_text())
    place = content
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    (tmp_path / "task.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"^The file task\.json of the preset .*" + says) as error:
        check_configs(tmp_path)
    assert len(str(error.value)) < 600


def test_a_file_that_describes_nothing_is_refused(tmp_path):
    (tmp_path / "preprocessor.json").write_text("{}")
    with pytest.raises(InputError, match="lacks the key class_name"):
        check_configs(tmp_path)


def test_a_link_to_nothing_is_no_file(tmp_path):
    (tmp_path / "task.json").symlink_to(tmp_path / "absent")
    with pytest.raises(InputError, match="is missing, or no file"):
        check_configs(tmp_path)


def test_a_folder_of_links_is_read(tmp_path):
    """As the cache of Hugging Face's hub is."""
    shutil.copytree(presets_dir() / "tic_tiny", tmp_path / "files")
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "config.json").symlink_to(tmp_path / "files" / "config.json")
    check_configs(tmp_path / "links")
    assert read_config(tmp_path / "links")["class_name"] == "TiCBackbone"
