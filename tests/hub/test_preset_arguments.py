"""What `from_preset` takes beside the preset."""

import json

import pytest

import keras_espmedsam as kem
from keras_espmedsam.errors import InputError
from keras_espmedsam.hub.preset_arguments import check_arguments

ASKED = {"image_shape": (64, 64, 3)}


def _check(folder, config, **arguments):
    (folder / "config.json").write_text(json.dumps(config))
    check_arguments(kem.models.TiCBackbone, folder, arguments or ASKED)


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"config": "x"}, "has config: 'x'; expected an object"),
        ({"config": {"image_encoder": "x"}}, "has config.image_encoder: 'x'; expected an object"),
        ({"config": {"image_encoder": {"config": [1]}}}, r"config\.image_encoder\.config: \[1\]"),
        ({"config": {"image_shape": []}}, r"has config\.image_shape: \[\]; expected \[height"),
        ({"config": {"image_shape": 3}}, r"has config\.image_shape: 3; expected"),
        ({"config": {"image_shape": [8, 8, "3"]}}, r"has config\.image_shape: \[8, 8, '3'\]"),
        (
            {"config": {"image_encoder": {"config": {"image_shape": {"a": 1}}}}},
            r"has config\.image_encoder\.config\.image_shape",
        ),
    ],
    ids=range(7),
)
def test_a_wrong_field_of_the_file_is_named(tmp_path, config, says):
    with pytest.raises(InputError, match=r"^The file config\.json of the preset .*" + says):
        _check(tmp_path, config)


@pytest.mark.parametrize(
    ("config", "channels"),
    [
        ({}, 3),
        ({"config": {"image_shape": [None, None, 4]}}, 4),
        ({"config": {"image_shape": None, "image_encoder": None}}, 3),
        ({"config": {"image_encoder": {"config": {"image_shape": [8, 8, 2]}}}}, 2),
    ],
    ids=range(4),
)
def test_the_channels_are_those_of_the_saved_model(tmp_path, config, channels):
    _check(tmp_path, config, image_shape=(64, None, channels))
    with pytest.raises(InputError, match=rf"expected \(height, width, {channels}\)"):
        _check(tmp_path, config, image_shape=(64, 64, channels + 1))
