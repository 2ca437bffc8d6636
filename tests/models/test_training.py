"""Plain fit, evaluate and predict on every kind of source."""

import keras
import numpy as np
import pytest

import keras_espmedsam as kem
from keras_espmedsam.errors import InputError
from keras_espmedsam.models.esp_medsam.esp_medsam_image_segmenter_preprocessor import (
    max_pool_patches,
)
from keras_espmedsam.models.training_data import ArrayDataset

RNG = np.random.default_rng(0)
X = {
    "images": RNG.integers(0, 256, (4, 40, 56, 3), dtype="uint8"),
    # Modality 2 is absent.
    "modalities": np.array([0, 1, 1, 0], "int32"),
}
Y = (RNG.random((4, 40, 56, 1)) > 0.7).astype("uint8")


SOURCES = ("PyDataset", "tf.data", "grain", "DataLoader")


@pytest.fixture(scope="module")
def trained(segmenter):
    """A copy of the segmenter after two epochs of AdamW, and its weights before."""
    model = type(segmenter).from_config(segmenter.get_config())
    model.set_weights(segmenter.get_weights())
    model.compile(keras.optimizers.AdamW(1e-3, weight_decay=0.1, global_clipnorm=1.0))
    # Momentum of all controllers first, so that a step without one has some to be led astray by.
    everything = {**X, "modalities": np.array([2, 1, 2, 0], "int32")}
    model.fit(everything, Y, batch_size=2, epochs=1, verbose=0, shuffle=False)
    before = {w.path: keras.ops.convert_to_numpy(w) for w in model.weights}
    slots = [keras.ops.convert_to_numpy(v) for v in model.optimizer.variables]
    history = model.fit(X, Y, batch_size=2, epochs=1, verbose=0, shuffle=False)
    return model, before, slots, history.history


def test_an_absent_modality_is_not_updated_and_present_ones_are(trained):
    model, before, _, _ = trained
    for k in range(3):
        moved = [
            not np.array_equal(before[w.path], keras.ops.convert_to_numpy(w))
            for layer in model.backbone.controller_layers(k)
            for w in layer.weights
        ]
        assert len(moved) > 10
        # Every weight of the present ones has a gradient; none of the absent one's may move.
        assert all(moved) if k != 2 else not any(moved)


def test_an_absent_modalitys_momentum_is_not_updated(trained):
    model, _, slots, _ = trained
    kept = moved = 0
    for variable, old in zip(model.optimizer.variables, slots, strict=True):
        same = np.array_equal(old, keras.ops.convert_to_numpy(variable))
        if "modality_2" in variable.path:
            assert same
            kept += 1
        elif "modality_0" in variable.path:
            moved += not same
    assert kept > 20 and moved > 20


def test_shared_parts_are_trained(trained):
    model, before, _, _ = trained
    weight = model.backbone.mask_decoder.queries
    assert not np.array_equal(before[weight.path], keras.ops.convert_to_numpy(weight))


def test_history_has_losses_and_overlaps(trained):
    history = trained[3]
    assert {"loss", "masks_loss", "patches_loss", "masks_dice", "masks_iou"} <= set(history)
    assert history["loss"][0] == pytest.approx(
        history["masks_loss"][0] + history["patches_loss"][0], rel=1e-4
    )


@pytest.fixture(scope="module")
def plain(build):
    model = build.plain_segmenter()
    model.compile(keras.optimizers.AdamW(1e-3))
    return model


@pytest.mark.parametrize("source", SOURCES)
def test_every_source_evaluates_alike(plain, source, build):
    expected = plain.evaluate(X, Y, batch_size=2, verbose=0, return_dict=True)
    found = plain.evaluate(build.source(source, X, Y), verbose=0, return_dict=True)
    # Not the losses per output: Keras on TensorFlow counts the end of a source of unknown length
    # as one more batch of loss 0 there.
    for name in ("loss", "masks_dice", "masks_iou"):
        assert found[name] == pytest.approx(expected[name], rel=1e-4)


@pytest.mark.parametrize("source", SOURCES)
def test_every_source_fits(plain, source, build):
    weight = plain.backbone.mask_decoder.queries
    old = keras.ops.convert_to_numpy(weight)
    history = plain.fit(
        build.source(source, X, Y), validation_data=build.source(source, X, Y), verbose=0
    )
    expected = plain.evaluate(X, Y, batch_size=2, verbose=0, return_dict=True)
    assert history.history["val_loss"][0] == pytest.approx(expected["loss"], rel=1e-4)
    assert not np.array_equal(old, keras.ops.convert_to_numpy(weight))


def test_validation_split_holds_out_the_last(plain):
    history = plain.fit(X, Y, batch_size=2, validation_split=0.5, verbose=0).history
    last = {name: value[2:] for name, value in X.items()}
    expected = plain.evaluate(last, Y[2:], batch_size=2, verbose=0, return_dict=True)
    assert history["val_loss"][0] == pytest.approx(expected["loss"], rel=1e-4)


@pytest.mark.parametrize("source", SOURCES)
def test_every_source_predicts_alike(plain, source, build):
    expected = plain.predict(X, batch_size=2, verbose=0)
    assert expected["masks"].shape == (4, 64, 64, 1)
    assert expected["patches"].shape == (4, 2, 2, 1)
    found = plain.predict(build.source(source, X, Y), verbose=0)
    np.testing.assert_allclose(found["masks"], expected["masks"], atol=1e-5)


def test_arrays_are_shuffled_each_epoch_and_all_seen(plain):
    data = ArrayDataset(plain, X, Y, batch_size=1, shuffle=True)
    orders = []
    for _ in range(4):
        data.on_epoch_begin()
        orders.append([int(data[i][1]["masks"].sum()) for i in range(4)])
    assert len({tuple(sorted(order)) for order in orders}) == 1
    assert len({tuple(order) for order in orders}) > 1


def test_mask_and_patch_targets_follow_the_image(segmenter):
    mask = np.zeros((1, 32, 64, 1), "uint8")
    mask[0, 3, 50] = 255
    image = np.zeros((1, 32, 64, 3), "uint8")
    x, y = segmenter.preprocess_samples({"images": image, "modalities": [0]}, mask)
    assert x["images"].shape == (1, 64, 64, 3)
    assert y["masks"][0, 3, 50, 0] == 1 and y["masks"].sum() == 1
    np.testing.assert_array_equal(y["patches"][0, ..., 0], [[0, 1], [0, 0]])


def test_a_canvas_that_patches_do_not_fill_is_told():
    with pytest.raises(InputError, match=r"100 x 64 for training; .* such as 128 x 64"):
        max_pool_patches(np.zeros((1, 100, 64, 1), "float32"))


def test_sample_weight_scales_the_loss(plain):
    one = plain.evaluate(X, Y, batch_size=4, verbose=0, return_dict=True)
    double = plain.evaluate(
        X, Y, batch_size=4, sample_weight=np.full(4, 2.0), verbose=0, return_dict=True
    )
    assert double["loss"] == pytest.approx(2 * one["loss"], rel=1e-4)


@pytest.mark.parametrize(
    ("x", "y", "words"),
    [
        ({**X, "modalities": np.array([0, 1, 3, 0])}, Y, "Unknown modality 3"),
        (X["images"], Y, "Received no modality; give one of"),
        (X, Y[:, :20], "one mask"),
        (X, Y[:3], r"lengths \[3, 4\]"),
        (X, Y + 1, "expected 0 and 1"),
    ],
)
def test_bad_training_data_is_explained(plain, x, y, words):
    y = y.astype("float32") if words.startswith("expected") else y
    with pytest.raises(InputError, match=words):
        plain.fit(x, y, batch_size=2, verbose=0)


def test_an_unknown_source_is_explained(plain):
    with pytest.raises(InputError, match=r"data of type builtins\.set"):
        plain.fit({1, 2}, verbose=0)


def test_compile_wraps_the_optimizer_once(segmenter):
    model = type(segmenter)(segmenter.backbone, segmenter.preprocessor)
    wrapped = kem.optimizers.DecoupledOptimizer(keras.optimizers.SGD(0.1))
    model.compile(wrapped)
    assert model.optimizer is wrapped


def test_compile_decouples_inside_a_loss_scaling(segmenter):
    model = type(segmenter)(segmenter.backbone, segmenter.preprocessor)
    scaling = keras.optimizers.LossScaleOptimizer(
        keras.optimizers.SGD(0.5, momentum=0.5), initial_scale=8.0, dynamic_growth_steps=7
    )
    model.compile(scaling)
    # Outermost, where Keras looks for it under mixed_float16: there it must not be added again.
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    assert (model.optimizer.initial_scale, model.optimizer.dynamic_growth_steps) == (8.0, 7)
    decoupled = model.optimizer.inner_optimizer
    assert isinstance(decoupled, kem.optimizers.DecoupledOptimizer)
    assert decoupled.optimizer is scaling.inner_optimizer


def test_a_loader_of_images_alone_predicts(plain, build):
    import torch

    class Images(build.samples):
        def __getitem__(self, index):
            return super().__getitem__(index)[0]

    loader = torch.utils.data.DataLoader(Images(X, Y), batch_size=2)
    expected = plain.predict(X, batch_size=2, verbose=0)
    np.testing.assert_allclose(
        plain.predict(loader, verbose=0)["masks"], expected["masks"], atol=1e-5
    )


def test_names_serve_as_modalities_in_every_source(plain):
    import tensorflow as tf

    names = {**X, "modalities": [plain.modalities[k] for k in X["modalities"]]}
    expected = plain.evaluate(X, Y, batch_size=2, verbose=0, return_dict=True)["loss"]
    sources = {
        "list": (names, Y),
        "tf.data": (tf.data.Dataset.from_tensor_slices((names, Y)).batch(2),),
    }
    for source in sources.values():
        found = plain.evaluate(*source, batch_size=2, verbose=0, return_dict=True)["loss"]
        assert found == pytest.approx(expected, rel=1e-4)


def test_single_batches_take_raw_images(plain):
    expected = plain.evaluate(X, Y, batch_size=4, verbose=0, return_dict=True)
    found = plain.test_on_batch(X, Y, return_dict=True)
    assert found["loss"] == pytest.approx(expected["loss"], rel=1e-4)
    outputs = plain.predict_on_batch(X)
    whole = plain.predict(X, batch_size=4, verbose=0)
    np.testing.assert_allclose(outputs["masks"], whole["masks"], atol=1e-5)
    before = keras.ops.convert_to_numpy(plain.backbone.mask_decoder.queries)
    plain.train_on_batch(X, Y)
    after = keras.ops.convert_to_numpy(plain.backbone.mask_decoder.queries)
    assert not np.array_equal(before, after)


def test_masks_of_0_and_1_stand_beside_masks_of_0_and_255(plain):
    mixed = Y.copy()
    mixed[1] *= 255
    _, one = plain.preprocess_samples(X, Y)
    _, other = plain.preprocess_samples(X, mixed)
    np.testing.assert_array_equal(one["masks"], other["masks"])


def test_a_mask_means_the_same_whatever_shares_its_batch(plain):
    y, x = np.mgrid[:40, :56]
    # Edges that fall from 255 to 0 within a few pixels.
    soft = np.clip(255 - 40 * np.maximum(np.hypot(y - 20, x - 28) - 12, 0), 0, 255).astype("uint8")
    masks = [soft, Y[1], Y[2] * 255, Y[3].astype(bool)]
    _, together = plain.preprocess_samples(X, masks)
    for i, mask in enumerate(masks):
        alone = {name: value[i : i + 1] for name, value in X.items()}
        _, one = plain.preprocess_samples(alone, [mask])
        np.testing.assert_array_equal(together["masks"][i], one["masks"][0])
        assert one["masks"].any()
    with pytest.raises(InputError, match="several labels, 1 and 2"):
        plain.preprocess_samples(X, [Y[0], Y[1] * 2, Y[2], Y[3]])


def test_grey_batches_are_taken(plain):
    grey = {**X, "images": X["images"][..., :1]}
    colour = {**X, "images": np.repeat(grey["images"], 3, axis=-1)}
    np.testing.assert_array_equal(
        plain.preprocess_samples(grey)["images"], plain.preprocess_samples(colour)["images"]
    )


def test_threads_may_segment_at_once(plain):
    from concurrent.futures import ThreadPoolExecutor

    image = X["images"][0]
    expected = plain.segment(image, 1)["probabilities"]
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: plain.segment(image, 1), range(12)))
    for result in results:
        np.testing.assert_allclose(result["probabilities"], expected, atol=1e-6)


def test_losses_by_name(segmenter):
    model = type(segmenter)(segmenter.backbone, segmenter.preprocessor)
    for name, expected in (
        ("auto", kem.losses.DiceFocalLoss),
        ("standard", kem.losses.DiceFocalLoss),
        ("published", kem.losses.PublishedDiceFocalLoss),
    ):
        model.compile(loss=name)
        assert type(model.loss["masks"]) is expected
        assert type(model.loss["patches"]) is kem.losses.PatchLoss
    # Keras' form by this name takes probabilities, and would be fed logits.
    with pytest.raises(InputError, match="loss='binary_crossentropy'"):
        model.compile(loss="binary_crossentropy")
    model.compile(loss={"name": "FocalLoss", "gamma": 1.0})
    assert model.loss["masks"].gamma == 1.0
    assert type(model.loss["patches"]) is kem.losses.PatchLoss


def test_automatic_metrics_are_weighted_and_named_as_before(plain):
    model = type(plain)(plain.backbone, plain.preprocessor)
    results = []
    for metrics in ("auto", {"masks": [kem.metrics.DiceScore(), kem.metrics.ForegroundIoU()]}):
        model.compile("sgd", metrics=metrics)
        results.append(model.test_on_batch(X, Y, return_dict=True))
    assert list(results[0]) == list(results[1])
    assert results[0] == pytest.approx(results[1], rel=1e-6)
    model.compile("sgd")
    first = model.test_on_batch(X, Y, np.array([1, 0, 0, 0]), return_dict=True)["masks_dice"]
    alone = {name: value[:1] for name, value in X.items()}
    assert first == pytest.approx(
        model.test_on_batch(alone, Y[:1], return_dict=True)["masks_dice"], rel=1e-5
    )
