"""Several targets of a modality: one encoding, a query for each, and no effect on the others."""

import keras
import numpy as np
import pytest

import keras_espmedsam as kem
from keras_espmedsam.errors import InputError
from keras_espmedsam.imaging.host_call import plain_refusals
from keras_espmedsam.models.esp_medsam.esp_medsam_image_segmenter_preprocessor import any_target
from keras_espmedsam.models.esp_medsam.raw_targets import labelled_channels
from keras_espmedsam.models.training_data import preprocessed

SIZE = (32, 32)
IMAGES = np.random.default_rng(0).normal(size=(3, *SIZE, 3)).astype("float32")
RAW = np.random.default_rng(1).integers(0, 256, (3, *SIZE, 3), dtype="uint8")
MODALITIES = np.array([0, 1, 2], "int32")


@pytest.fixture(autouse=True)
def _untraced(build):
    with build.untraced():
        yield


@pytest.fixture(scope="module")
def old(build):
    return build.randomize(_segmenter(build))


@pytest.fixture(scope="module")
def extended(old):
    """`skin` has two further targets, one in the other; `lung` one; `eye` tells objects apart."""
    model = old.add_target(
        "skin", ["mole", "centre"], init_from="mask", adapter_dim=3, nested={"centre": "mole"}
    )
    return model.add_target("lung", "heart", adapter_dim=2).add_instances("eye", "mask", "core")


@pytest.fixture(scope="module")
def logits(old, extended, build):
    return masks(old, build), masks(extended, build)


def _segmenter(build, **backbone):
    image = keras.Input((*SIZE, 3))
    encoder = keras.Model(image, keras.layers.Conv2D(16, 16, strides=16)(image))
    backbone = build.backbone(encoder, transformer_depth=1, **backbone)
    return build.segmenter(backbone, image_size=SIZE)


def masks(segmenter, build, modalities=MODALITIES):
    inputs = segmenter.model_inputs(IMAGES[: len(modalities)], np.array(modalities, "int32"))
    return build.array(build.run(segmenter, inputs)["masks"])


def same(found, before):
    """Equal masks of two models: to the bit, unless both are compiled, each in its own way."""
    if keras.backend.backend() == "jax":
        np.testing.assert_allclose(found, before, atol=1e-5)
    else:
        np.testing.assert_array_equal(found, before)


def test_adding_targets_leaves_the_old_masks_bit_for_bit(logits):
    before, after = logits
    assert before.shape == (3, *SIZE, 1) and after.shape == (3, *SIZE, 3)
    same(after[..., :1], before)


def test_a_target_begins_as_the_one_that_it_is_copied_from(logits):
    _, after = logits
    np.testing.assert_allclose(after[0, ..., 1], after[0, ..., 0], atol=1e-4)
    np.testing.assert_allclose(after[2, ..., 1], after[2, ..., 0], atol=1e-4)


def test_channels_beyond_a_modality_s_own_are_closed(logits):
    _, after = logits
    closed = np.isneginf(after).all(axis=(1, 2))
    assert closed.tolist() == [[False] * 3, [False, False, True], [False, False, True]]
    assert np.isfinite(after[1, ..., 1]).all()


def test_targets_and_hidden_channels_have_names(extended):
    assert extended.targets == {
        "skin": ("mask", "mole", "centre"),
        "lung": ("mask", "heart"),
        "eye": ("mask",),
    }
    assert extended.target_set.channels("eye") == ("mask", "mask:core")


def test_a_specialized_model_keeps_the_targets_of_its_modality(extended, logits, build):
    single = extended.specialize("lung")
    assert single.targets == {"lung": ("mask", "heart")}
    found = build.array(build.run(single, {"images": IMAGES[1:2]})["masks"])
    np.testing.assert_allclose(found, logits[1][1:2, ..., :2], atol=1e-4)


def test_training_one_target_changes_it_alone(extended, logits, build):
    model = extended.add_target("lung", "trachea")  # A copy to train.
    model.train_only_target("skin", ["mole", "centre"])
    owners = {(v.modality, v.target) for v in model.trainable_variables}
    assert owners == {(0, 1), (0, 2)}
    frozen = {v.path: build.array(v) for v in model.variables}
    before = masks(model, build)
    same(before[..., :1], logits[0])
    model.compile(keras.optimizers.AdamW(0.1, weight_decay=0.1))
    truth = (np.indices((3, *SIZE, 3)).sum(0) % 2).astype("uint8")
    labelled = np.array([[1, 1, 0], [1, 1, 0], [1, 0, 0]], bool)
    x = {"images": RAW, "modalities": MODALITIES}
    history = model.fit(x, {"masks": truth, "labelled": labelled}, batch_size=3, verbose=0)
    assert np.isfinite(history.history["loss"]).all()
    changed = {
        (v.modality, v.target)
        for v in model.variables
        if not np.array_equal(frozen[v.path], build.array(v))
    }
    assert changed == {(0, 1)}, "`centre` is labelled nowhere."
    after = masks(model, build)
    np.testing.assert_array_equal(after[..., :1], before[..., :1])
    np.testing.assert_array_equal(after[1:, ..., 1], before[1:, ..., 1])
    assert np.abs(after[0, ..., 1] - before[0, ..., 1]).max() > 1e-3


def test_exclusive_targets_share_a_softmax_and_nested_ones_stay_inside(build):
    model = build.randomize(
        _segmenter(
            build,
            targets={"skin": ("vessels", "arteries", "veins"), "lung": ("lungs", "heart")},
            exclusive={"skin": [("arteries", "veins")]},
            nested={"skin": {"arteries": "vessels"}},
        )
    )
    free = _segmenter(build, targets=model.targets)
    free.set_weights(model.get_weights())
    raw, found = masks(free, build), masks(model, build)
    odds = np.exp(raw[0, ..., 1:].astype("float64"))
    softmax = odds / (1 + odds.sum(-1, keepdims=True))
    probability = 1 / (1 + np.exp(-found[0].astype("float64")))
    np.testing.assert_allclose(probability[..., 2], softmax[..., 1], atol=1e-5)
    bounded = np.minimum(softmax[..., 0], probability[..., 0])
    np.testing.assert_allclose(probability[..., 1], bounded, atol=1e-5)
    np.testing.assert_array_equal(found[1], raw[1])
    np.testing.assert_array_equal(found[..., 0], raw[..., 0])


def test_a_saved_model_has_the_same_targets_and_masks(extended, logits, tmp_path, build):
    extended.save_to_preset(tmp_path / "preset")
    loaded = kem.models.ESPMedSAMImageSegmenter.from_preset(tmp_path / "preset")
    assert loaded.target_set == extended.target_set
    same(masks(loaded, build), logits[1])


def test_a_model_with_one_target_writes_the_configuration_of_version_0_1_0(old):
    known = old.backbone.get_config()
    assert not {"targets", "exclusive", "nested", "instances", "target_adapters"} & set(known)
    assert "postprocessing" not in old.get_config()


@pytest.mark.slow_on("jax")
def test_an_added_modality_has_its_targets(extended, logits, build):
    model = extended.add_modality(
        ["tooth", "brain"], init_from="skin", targets={"tooth": ("mask", "mole")}
    )
    assert model.targets["tooth"] == ("mask", "mole")
    assert model.targets["brain"] == ("mask",)
    assert {v.modality for v in model.trainable_variables} == {3, 4}
    # The slot of the added query changes how sums are rounded.
    np.testing.assert_allclose(masks(model, build), logits[1], atol=1e-5)
    tooth = masks(model, build, [3])
    np.testing.assert_allclose(tooth[0, ..., 1], tooth[0, ..., 0], atol=1e-4)


def test_self_prompts_of_each_target(build):
    model = build.randomize(
        _segmenter(build, targets={"skin": ("mole", "hair")}, self_prompt_targets="each")
    )
    found = build.run(model, model.model_inputs(IMAGES, MODALITIES))
    patches = build.array(found["patches"])
    assert patches.shape == (3, 1, 1, 2)
    assert np.isneginf(patches[1:, ..., 1]).all() and np.isfinite(patches[0]).all()
    truth = np.ones((3, *SIZE, 2), "uint8")
    _, y = model.prepare_batch({"images": RAW, "modalities": MODALITIES}, truth)
    assert y["patches"][:, 0, 0].tolist() == [[1, 1], [1, -1], [1, -1]]
    with pytest.raises(InputError, match="self_prompt_targets='union'"):
        model.add_target("skin", "scar")


def test_prepared_masks_say_what_is_not_labelled(extended):
    truth = np.zeros((3, *SIZE, 3), "uint8")
    truth[0, :4, :4, 1] = 1
    labelled = np.array([[0, 1, 0], [1, 1, 1], [1, 0, 0]])
    x = {"images": RAW, "modalities": MODALITIES}
    _, y = extended.prepare_batch(x, {"masks": truth, "labelled": labelled})
    known = y["masks"].min(axis=(1, 2)) >= 0
    assert known.tolist() == [[False, True, False], [True, True, False], [True, False, False]]
    assert y["masks"][0, ..., 1].sum() == 16
    # Patches are known only if all targets are. A hidden channel is no target.
    assert y["patches"].ravel().tolist() == [-1, 0, 0]
    _, y = extended.prepare_batch(x, truth * 0)
    assert (y["masks"].min(axis=(1, 2)) >= 0).sum(axis=1).tolist() == [3, 2, 2]


def test_masks_of_one_channel_show_the_first_target(extended):
    x = {"images": RAW, "modalities": MODALITIES}
    truth = np.zeros((3, *SIZE, 1), "uint8")
    truth[:, :4, :4] = 1
    _, expected = extended.prepare_batch(x, truth)
    known = expected["masks"].min(axis=(1, 2)) >= 0
    assert known.tolist() == [[True, False, False]] * 3
    assert (expected["masks"].sum(axis=(1, 2))[:, 0] == 16).all()
    for alike in (truth[..., 0], list(truth), list(truth[..., 0]), {"masks": truth}):
        _, y = extended.prepare_batch(x, alike)
        np.testing.assert_array_equal(y["masks"], expected["masks"])
        np.testing.assert_array_equal(y["patches"], expected["patches"])


def test_images_of_several_sizes_with_several_targets(extended):
    x = {"images": [RAW[0], RAW[1, :20]], "modalities": ["skin", "lung"]}
    truth = [np.ones((32, 32, 3), "uint8"), np.ones((20, 32, 3), "uint8")]
    weights = [np.ones((32, 32)), np.ones((20, 32))]
    _, y, sample_weight = extended.prepare_batch(x, {"masks": truth}, weights)
    assert y["masks"].sum(axis=(1, 2)).tolist() == [[1024] * 3, [640, 640, -1024]]
    assert sample_weight["masks"].shape == (2, 32, 32, 1)


def test_patches_are_known_only_if_all_targets_are_labelled():
    patches = np.array([[[1, -1, 0], [0, -1, 1]], [[0, 0, -1], [0, 1, -1]]]).astype("float32")
    patches = patches.reshape(2, 1, 2, 3)
    assert any_target(patches, np.array([3, 3])).ravel().tolist() == [-1] * 4
    assert any_target(patches, np.array([1, 2])).ravel().tolist() == [1, 0, 0, 1]


def test_names_of_unnamed_targets(build):
    model = _segmenter(build)
    model.name_targets({"eye": "vessels"})
    assert model.targets["eye"] == ("vessels",)
    assert model.backbone.get_config()["targets"] == {"eye": ["vessels"]}
    with pytest.raises(InputError, match="names already: vessels"):
        model.name_targets({"eye": "disc"})


@pytest.mark.slow_on("jax")  # A model of its own, of which no step is run.
def test_a_loss_of_one_target_is_computed_for_each(build):
    model = _segmenter(build, targets={"skin": ["a", "v"]}, exclusive={"skin": [["a", "v"]]})
    dice, patches = kem.losses.DiceLoss(), kem.losses.PatchLoss()
    given = {"masks": dice, "patches": patches}
    for loss in (
        "DiceLoss",
        {"name": "DiceLoss"},
        given,
        {"masks": kem.losses.PerTargetLoss(dice)},
    ):
        model.compile("sgd", loss)
        assert type(model.loss["masks"]) is kem.losses.PerTargetLoss
        assert type(model.loss["masks"].loss) is kem.losses.DiceLoss
    assert given == {"masks": dice, "patches": patches}
    model.compile("sgd", given)
    assert model.loss["masks"].loss is dice and model.loss["patches"] is patches
    assert model.loss["masks"].groups == model.target_set.group_numbers()


@pytest.mark.parametrize(
    "call, part",
    [
        (lambda m: m.compile(loss="published"), "PublishedDiceFocalLoss has one value for the"),
        (lambda m: m.add_target("skin", "mole"), "has already"),
        (lambda m: m.add_target("skin", []), "no name"),
        (lambda m: m.add_target("skin", "a b"), "one or more different names"),
        (
            lambda m: m.add_target("skin", "hair", init_from="mol"),
            r"init_from='mol' for hair of skin; did you mean mole\? .* has mask, mole, centre\.",
        ),
        (lambda m: m.add_target("skin", ["a", "b"], init_from={"b": "a"}), "='a' for a, b of skin"),
        (lambda m: m.add_target("skin", "hair", init_from={"hare": "mole"}), "did you mean hair"),
        (lambda m: m.add_target("skin", "hair", adapter_dim={"hare": 2}), "adapter_dim for 'hare'"),
        (lambda m: m.add_target("eye", "disc", init_from="disk"), "without a name; give 'mask'"),
        (lambda m: m.add_instances("skin", "mole", init_from="mol"), "did you mean mole"),
        (lambda m: m.add_target("foot", "hair"), "'foot'"),
        (lambda m: m.add_target("skin", "hair", nested={"mole": "hair"}), "old target"),
        (lambda m: m.add_target("skin", "hair", exclusive=[("hair", "mole")]), "old target"),
        (lambda m: m.add_target("skin", "hair", nested={"hair": "wig"}), "'wig'"),
        (lambda m: m.add_instances("skin", "mole", "edges"), "boundary, core, components"),
        (lambda m: m.train_only_target("skin", "mask"), "first target"),
        (lambda m: m.train_only_target("skin", "heart"), "target of lung"),
        (lambda m: m.prepare_batch(_x(), [np.ones((9, 32))] * 3), "or \\(32, 32, 1\\) for the"),
        (lambda m: m.prepare_batch(_x(), np.ones((3, *SIZE, 2))), "3 channels"),
        (
            lambda m: m.prepare_batch(_x(), {"labelled": np.ones((3, 3))}),
            'a dict of labelled; expected masks, or {"masks": masks, "labelled": labelled}.',
        ),
        (
            lambda m: m.prepare_batch(_x(), _labelled(np.nan)),
            r"labelled\[1, 2\]=nan; exp",
        ),
        (lambda m: m.prepare_batch(_x(), _labelled(-1)), r"labelled\[1, 2\]=-1.0; expected True"),
        (lambda m: m.prepare_batch(_x(), _labelled("no")), "labelled of type <U"),
        (lambda m: m.prepare_batch(_x(), _labelled(None)), "labelled of type object"),
        (
            lambda m: m.prepare_batch(_x(), {"masks": _ones(), "labelled": np.ones((3, 2))}),
            r"\(3, 3\)",
        ),
        (lambda m: m.prepare_batch(_x(), _ones(), class_weight={0: 1, 1: 2}), "class_weight"),
        (lambda m: m.prepare_batch(_x(), list(_ones()[:, :9])), r"expected \(32, 32, 3\)"),
    ],
)
def test_bad_calls_are_rejected(extended, call, part):
    with pytest.raises(InputError, match=part):
        call(extended)


def test_masks_that_contradict_the_model_are_rejected_by_the_number_of_the_image(extended, build):
    """The centre of a mole lies in it."""
    masks = np.zeros((3, *SIZE, 3), "uint8")
    masks[2, :16, :, 1] = masks[2, :10, :, 2] = 255
    x = {"images": RAW, "modalities": ["lung", "skin", "skin"]}
    extended.prepare_batch(x, masks)
    masks[2, 16, :8, 2] = 255  # 2.4 % of its pixels.
    said = r"masks\[2\]: 2.44 % of centre is outside of mole, .*expected at most 1%"
    with pytest.raises(InputError, match=said):
        extended.prepare_batch(x, masks / 255)
    with pytest.raises(InputError, match=said):  # Before the first batch.
        extended.fit(x, {"masks": list(masks)}, batch_size=1)
    with pytest.raises(InputError, match=r"^2.44 % of centre"):
        extended.prepare_batch({"images": RAW[2:], "modalities": ["skin"]}, masks[2:])
    numbers = {"images": RAW, "modalities": np.array([1, 0, 0], "int32")}
    for kind in ("tf.data", "DataLoader", "PyDataset"):
        source, _ = preprocessed(extended, build.source(kind, numbers, masks[[0, 2, 1]]))
        with pytest.raises(InputError, match=r"masks\[1\]: 2.44 % of centre"), plain_refusals():
            next(iter(source)) if kind != "PyDataset" else source[0]
    # What is not labelled cannot contradict, nor what another modality has in these channels.
    labelled = np.array([[1, 1, 1], [1, 1, 1], [1, 0, 1]])
    extended.prepare_batch(x, {"masks": masks, "labelled": labelled})
    extended.prepare_batch({"images": RAW, "modalities": ["skin", "skin", "lung"]}, masks)


def test_targets_that_exclude_each_other_may_not_overlap():
    targets = kem.data.Targets({"eye": ("a", "v", "disc")}, {"eye": [("a", "v")]})
    masks = np.zeros((2, 10, 10, 3), "float32")
    masks[1, :5, :, 0] = masks[1, 4:6, :, 1] = masks[1, ..., 2] = 0.9
    with pytest.raises(InputError, match=r"masks\[1\]: 50 % of v is also a, but the two exclude"):
        labelled_channels(targets, 2, masks)
    masks[1, :4, :, 1] = 0.3  # Below half: an edge.
    masks[1, 4, :, 1] = 0
    assert labelled_channels(targets, 2, masks).all()


def test_metrics_do_not_see_hidden_channels(extended, monkeypatch):
    """The eye's second channel is hidden; the skin's is a target."""
    seen = {}
    monkeypatch.setattr(
        keras.Model, "compute_metrics", lambda self, x, y, y_pred, sample_weight: seen.update(y)
    )
    y = {"masks": np.ones((3, *SIZE, 3), "float32"), "patches": np.ones((3, 1, 1, 1), "float32")}
    y["masks"][1, ..., 2] = y["masks"][2, ..., 2] = -1
    tensors = keras.tree.map_structure(keras.ops.convert_to_tensor, ({"modalities": [0, 1, 2]}, y))
    logits = np.full((3, *SIZE, 3), 9, "float32")
    logits[2, ..., 1:] = -9  # Only the hidden channel is wrong.
    extended.compute_metrics(*tensors, logits)
    known = np.asarray(keras.ops.convert_to_numpy(seen["masks"]))[:, 0, 0] >= 0
    assert known.tolist() == [[True] * 3, [True, True, False], [True, False, False]]
    metric = kem.metrics.ForegroundIoU()
    metric.update_state(seen["masks"], logits)
    assert float(metric.result()) == 1
    assert (y["masks"][2, ..., 1] == 1).all()  # The loss learns it.


def _labelled(value):
    labelled = [[1.0] * 3, [1.0, 1.0, value], [1.0] * 3]
    return {"masks": _ones(), "labelled": labelled}


def _x():
    return {"images": RAW, "modalities": MODALITIES}


def _ones():
    return np.ones((3, *SIZE, 3), "uint8")


def test_postprocessing_is_saved_and_follows_the_targets(extended, tmp_path):
    models = kem.models
    rules = {"skin": {"mole": {"min_area": 4}}, "eye": {"mask": {"fill_holes": True}}}
    model = models.ESPMedSAMImageSegmenter(
        extended.backbone, extended.preprocessor, postprocessing=rules
    )
    model.save_to_preset(tmp_path / "preset")
    loaded = models.ESPMedSAMImageSegmenter.from_preset(tmp_path / "preset")
    assert loaded.postprocessing == model.postprocessing
    assert model.specialize("skin").postprocessing == {"skin": model.postprocessing["skin"]}
    assert model.add_target("lung", "trachea").postprocessing == model.postprocessing
    with pytest.raises(InputError, match="'hair'"):
        models.ESPMedSAMImageSegmenter(
            extended.backbone, extended.preprocessor, postprocessing={"skin": {"hair": {}}}
        )


def test_bad_configurations_are_rejected(build):
    with pytest.raises(InputError, match="union, each"):
        _segmenter(build, self_prompt_targets="all")
    with pytest.raises(InputError, match="channels after its first"):
        _segmenter(build, target_adapters={"skin": {"mole": 3}})
