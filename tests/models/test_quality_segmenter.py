import keras
import numpy as np
import pytest

import keras_espmedsam as kem
from keras_espmedsam.inference.quality import COEFFICIENTS
from tests.small_segmenter import small_segmenter

NUMBERS = dict(zip(COEFFICIENTS, (0.5, 0.3, 0.1, 0.2, -0.1, 0.2), strict=True))
SCOPE = {"fundus": [0.25, *np.random.default_rng(1).normal(size=32).round(3).tolist()]}
IMAGE = np.random.default_rng(0).integers(0, 255, (50, 60, 3), dtype="uint8")


@pytest.fixture(scope="module")
def plain():
    return small_segmenter(("xray", "fundus"), targets={"xray": ("lungs", "heart")})


@pytest.fixture(scope="module")
def segmenter(plain):
    return plain.with_quality({"xray": {"heart": NUMBERS}}).with_scope(SCOPE)


def test_segment_predicts_the_dice_of_its_masks(plain, segmenter):
    both = [IMAGE, IMAGE], ["xray", "fundus"]
    found, before = segmenter.segment(*both), plain.segment(*both)
    for name in ("masks", "probabilities"):
        for one, other in zip(found[name], before[name], strict=True):
            np.testing.assert_array_equal(one, other)
    assert before["quality"] == [{}, {}] and plain.quality == {}
    assert list(found["quality"][0]) == ["heart"] and found["quality"][1] == {}
    indices = np.array([0, 1], "int32")
    images = np.stack([segmenter.image_converter.convert(IMAGE)] * 2)
    _, statistics = segmenter.predict_with_statistics(images, indices)
    logit = 0.5 + statistics[0, 1] @ list(NUMBERS.values())[1:]
    np.testing.assert_allclose(found["quality"][0]["heart"], 1 / (1 + np.exp(-logit)), atol=1e-5)
    mirrored = segmenter.segment(*both, mirror=True)
    other = segmenter.segment([IMAGE[:, ::-1]] * 2, ["xray", "fundus"])
    for key, row, name in (("quality", 0, "heart"), ("scope_score", 1, None)):
        one, of_mirror, mean = (
            result[key][row] if name is None else result[key][row][name]
            for result in (found, other, mirrored)
        )
        np.testing.assert_allclose(mean, (one + of_mirror) / 2, atol=1e-5)
    assert before["scope_score"] == before["in_scope"] == [None, None]
    assert found["scope_score"][0] is None and found["in_scope"][0] is None
    inputs = segmenter.model_inputs(images, indices)
    embedding = np.asarray(segmenter.embedding_model().predict_on_batch(inputs))[1]
    statistics = np.hstack([embedding.mean((0, 1)), embedding.std((0, 1))])
    logit = SCOPE["fundus"][0] + statistics @ SCOPE["fundus"][1:]
    np.testing.assert_allclose(found["scope_score"][1], 2 / (1 + np.exp(-logit)), atol=1e-4)
    assert found["in_scope"][1] is bool(logit <= 0)
    assert segmenter.segment(*both, targets=["lungs", "mask"])["quality"] == [{}, {}]


def test_it_is_saved_and_kept(plain, segmenter, tmp_path):
    segmenter.save_to_preset(tmp_path / "preset")
    loaded = kem.models.ESPMedSAMImageSegmenter.from_preset(str(tmp_path / "preset"))
    assert loaded.quality == segmenter.quality == {"xray": {"heart": NUMBERS}}
    assert loaded.scope == segmenter.scope == SCOPE
    assert "quality" not in plain.get_config()
    single = segmenter.specialize("xray")
    expected = segmenter.segment(IMAGE, "xray")["quality"]["heart"]
    for one in (loaded, single):
        found = one.segment(IMAGE, "xray")["quality"]["heart"]
        np.testing.assert_allclose(found, expected, atol=1e-5)
    assert segmenter.specialize("fundus").quality == {}


@pytest.mark.slow_on("jax", "tensorflow")
def test_training_does_not_see_it(segmenter, plain):
    x = {"images": IMAGE[None], "modalities": ["xray"]}
    masks = np.zeros((1, 50, 60, 2), "uint8")
    masks[:, :20] = 1
    values = []
    for one in (plain, segmenter):
        one.compile(optimizer=keras.optimizers.SGD(0.0))
        values.append(one.evaluate(x, masks, verbose=0, return_dict=True))
    assert values[0].keys() == values[1].keys()
    np.testing.assert_allclose(values[0]["loss"], values[1]["loss"], rtol=1e-5)
    trained = plain.with_quality(segmenter.quality).with_scope(SCOPE)
    trained.compile(optimizer=keras.optimizers.SGD(0.0))
    with pytest.warns(kem.errors.InputWarning, match="the predicted quality and the scope. Fit"):
        trained.fit(x, masks, verbose=0)
    # Both were fitted to other weights.
    assert trained.quality == trained.scope == {}
    assert trained.segment(IMAGE, "xray")["quality"] == {}
    assert "quality" not in trained.get_config()
