"""What needs no pass of the model; see also test_quality_segmenter.py, which has both."""

import pytest

from keras_espmedsam.errors import InputError, InputWarning
from tests.small_segmenter import small_segmenter

NUMBERS = [0.25, *([0.5, -0.5] * 16)]


@pytest.fixture(scope="module")
def plain():
    return small_segmenter(("xray", "fundus"))


def test_it_is_kept_where_the_modality_is(plain):
    able = plain.with_scope({"fundus": NUMBERS})
    assert able.scope == {"fundus": NUMBERS} and able.backbone is plain.backbone
    assert able.get_config()["scope"] == able.scope and "scope" not in plain.get_config()
    assert set(able.output) == {"masks", "patches", "scope_score"}
    assert able.specialize("fundus").scope == able.scope
    assert able.specialize("xray").scope == {}
    assert able.with_quality(None).scope == able.scope
    assert able.with_scope(None).scope == {} and set(plain.output) == {"masks", "patches"}


@pytest.mark.parametrize("loaded", ["segmenter", "backbone", "adapters of the encoder"])
def test_weights_that_are_loaded_end_it(plain, tmp_path, loaded):
    able = plain.with_scope({"fundus": NUMBERS})
    model = able if loaded == "segmenter" else able.backbone
    if loaded.startswith("adapters"):
        model = able.backbone.image_encoder
        path = tmp_path / "some.lora.h5"
        model.enable_lora(1)
        model.save_lora_weights(path)
        load = model.load_lora_weights
    else:
        path = tmp_path / "all.weights.h5"
        model.save_weights(path)
        load = model.load_weights
    with pytest.warns(InputWarning, match="removed: the scope. Fit it again") as told:
        load(path)
    assert {one.filename for one in told} == {__file__}
    assert able.scope == {} and "scope" not in able.get_config()


def test_the_first_weights_of_a_configuration_are_those_that_it_is_about(plain, tmp_path):
    able = plain.with_scope({"fundus": NUMBERS})
    path = tmp_path / "all.weights.h5"
    able.save_weights(path)
    made = type(able).from_config(able.get_config())
    made.load_weights(path)
    assert made.scope == able.scope == {"fundus": NUMBERS}
    with pytest.warns(InputWarning, match="removed: the scope"):
        made.load_weights(path)


def test_wrong_numbers_are_refused(plain):
    with pytest.raises(InputError, match="expected 33 numbers"):
        plain.with_scope({"fundus": NUMBERS[1:]})
