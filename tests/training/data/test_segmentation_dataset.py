import dataclasses

import keras
import numpy as np
import pytest
from PIL import Image

from keras_espmedsam.data import Record, TargetMask, Targets
from keras_espmedsam.errors import InputError
from keras_espmedsam.training import Augmentation, SegmentationDataset, make_appearance

MODALITIES = ("xray", "fundus", "microscopy")
FILL = (124, 116, 104)


@pytest.fixture
def write(tmp_path):
    """Write an image of one grey and its mask (left half), 8 x 16, and give their record."""

    def write(grey, modality="fundus", dataset="drive", mask_size=(8, 16)):
        image, mask = tmp_path / f"{grey}.png", tmp_path / f"{grey}_mask.png"
        Image.fromarray(np.full((8, 16, 3), grey, "uint8")).save(image)
        left = np.zeros(mask_size, "uint8")
        left[:, : mask_size[1] // 2] = 255
        Image.fromarray(left).save(mask)
        return Record("train", modality, dataset, image, mask)

    return write


def _dataset(records, **options):
    return SegmentationDataset(records, MODALITIES, **{"image_size": (32, 32), **options})


def _greys(batch):
    return [int(image[0, 0, 0]) for image in batch[0]["images"]]


def test_one_pass_in_order(write):
    records = [write(g, m) for g, m in ((10, "fundus"), (20, "xray"), (30, "microscopy"))]
    dataset = _dataset(records, batch_size=2)
    assert dataset.num_batches == 2
    batches = [dataset[0], dataset[1]]
    assert [_greys(batch) for batch in batches] == [[10, 20], [30]]
    assert [b[0]["modalities"].tolist() for b in batches] == [[1, 0], [2]]
    x, masks = batches[0]
    assert (x["images"].shape, x["images"].dtype) == ((2, 32, 32, 3), np.uint8)
    assert (masks.shape, masks.dtype) == ((2, 32, 32, 1), np.uint8)
    assert x["modalities"].dtype == np.int32


def test_images_are_placed_with_their_masks(write):
    x, masks = _dataset([write(200)])[0]
    # 8 x 16 becomes 16 x 32; below it the canvas is neutral.
    expected = np.full((32, 32, 3), 200)
    expected[16:] = FILL
    np.testing.assert_array_equal(x["images"][0], expected)
    left = np.zeros((32, 32))
    left[:16, :16] = 1
    np.testing.assert_array_equal(masks[0, ..., 0], left)


def test_draws_depend_on_seed_epoch_and_number_alone(write):
    records = [write(g) for g in range(0, 200, 10)]
    augment = {"fundus": Augmentation(rotation=0, scale=(1, 1), shift=0, stretch=0)}
    options = dict(batch_size=8, steps=3, augment=augment)
    one, other = (_dataset(records, seed=1, **options) for _ in range(2))
    assert one.num_batches == 3
    other[2], other[0]  # what was asked before does not matter
    for a, b in ((one[1], other[1]), (one[2], other[2])):
        np.testing.assert_array_equal(a[0]["images"], b[0]["images"])
        np.testing.assert_array_equal(a[1], b[1])
    first = _greys(one[0])
    assert len(set(first)) > 2
    assert _greys(one[1]) != first
    assert _greys(_dataset(records, seed=2, **options)[0]) != first
    other.epoch = 1
    assert _greys(other[0]) != first


def test_every_epoch_draws_anew(write):
    records = [write(g) for g in range(0, 200, 10)]
    dataset = _dataset(records, batch_size=8, steps=1)
    draws = []
    for _ in range(3):
        dataset.on_epoch_begin()
        draws.append(_greys(dataset[0]))
        dataset.on_epoch_end()
    assert draws[0] != draws[1] != draws[2] != draws[0]
    resumed = _dataset(records, batch_size=8, steps=1)
    resumed.epoch = 2
    assert _greys(resumed[0]) == draws[2]


def test_data_sets_are_drawn_by_weight_not_by_size(write):
    records = [write(g, dataset="large") for g in range(10, 90, 10)]
    records += [write(200, dataset="small"), write(210, dataset="never")]
    options = dict(batch_size=100, steps=6)
    weights = {"large": 1, "small": 3, "never": 0}
    dataset = _dataset(records, weights=weights, **options)
    greys = np.array([_greys(dataset[i]) for i in range(6)]).ravel()
    assert (greys == 200).mean() == pytest.approx(0.75, abs=0.07)
    assert not (greys == 210).any()
    # Each image of a data set is as likely as the others.
    counts = [(greys == g).sum() for g in range(10, 90, 10)]
    assert min(counts) >= 5
    equal = _dataset(records, **options)
    greys = np.array([_greys(equal[i]) for i in range(6)]).ravel()
    for share in ((greys == 200).mean(), (greys == 210).mean(), (greys < 100).mean()):
        assert share == pytest.approx(1 / 3, abs=0.07)


def test_modalities_are_drawn_by_weight(write):
    """Whatever their numbers of data sets and images."""
    records = [write(g, "fundus", f"set{g % 3}") for g in range(10, 100, 10)]
    records += [write(200, "xray"), write(210, "microscopy")]
    options = dict(batch_size=100, steps=6)
    shares = {}
    for balance, weights in (("modality", {"fundus": 2}), (None, None)):
        dataset = _dataset(records, balance=balance, weights=weights, **options)
        greys = np.array([_greys(dataset[i]) for i in range(6)]).ravel()
        shares[balance] = [(greys < 100).mean(), (greys == 200).mean(), (greys == 210).mean()]
    np.testing.assert_allclose(shares["modality"], [1 / 2, 1 / 4, 1 / 4], atol=0.07)
    np.testing.assert_allclose(shares[None], [9 / 11, 1 / 11, 1 / 11], atol=0.05)


def test_a_shuffled_pass_is_another_order_in_each_epoch(write):
    records = [write(g) for g in range(0, 200, 10)]
    dataset = _dataset(records, batch_size=8, shuffle=True)
    orders = []
    for epoch in (0, 1, 0):
        dataset.epoch = epoch
        orders.append([grey for i in range(3) for grey in _greys(dataset[i])])
        assert sorted(orders[-1]) == list(range(0, 200, 10))
    assert orders[0] == orders[2] != orders[1] != sorted(orders[1])


AUGMENT = {
    "fundus": Augmentation(rotation=30),
    "xray": Augmentation(blur=0.5, appearance=make_appearance("standard")),
}


@pytest.mark.parametrize(
    "options",
    [
        dict(steps=5, batch_size=4, augment=AUGMENT),
        dict(shuffle=True, batch_size=3, augment=AUGMENT, image_size=(16, 16)),
        dict(image_size=None, batch_size=3, shuffle=True, augment=AUGMENT),
        dict(steps=5, batch_size=4, resize_mode="native", image_size=(16, 32), augment=AUGMENT),
    ],
    ids=["steps", "pass", "own sizes", "native"],
)
def test_workers_and_reading_when_needed_give_the_same_batches(options, sized):
    sizes = [(20, 30), (40, 20), (20, 30), (50, 50), (40, 20)] * 2
    records = [sized(*size, m) for size, m in zip(sizes, ["fundus", "xray"] * 5, strict=True)]
    expected = None
    for workers, cache in ((1, True), (2, True), (4, False)):
        dataset = _dataset(records, seed=3, workers=workers, cache=cache, **options)
        assert dataset.workers == 1  # for Keras
        found = []
        # In order, jumping as TensorFlow does to learn the shapes, and again in the next epoch.
        for epoch, order in ((0, (0, 1, 0)), (1, range(dataset.num_batches)), (5, (3, 1))):
            dataset.epoch = epoch
            found += [dataset[i] for i in order if i < dataset.num_batches]
        expected = expected or found
        assert len(found) == len(expected) >= 6
        for (x, masks), (other, other_masks) in zip(found, expected, strict=True):
            np.testing.assert_array_equal(x["images"], other["images"])
            np.testing.assert_array_equal(x["modalities"], other["modalities"])
            np.testing.assert_array_equal(masks, other_masks)


@pytest.mark.skipif(
    keras.backend.backend() != "torch", reason="once suffices: processes use no backend"
)
def test_processes_give_the_same_batches(write):
    records = [write(g) for g in range(0, 200, 20)]
    options = dict(batch_size=4, steps=3, augment=AUGMENT)
    dataset = _dataset(records, workers=1, use_multiprocessing=True, **options)
    for i in range(3):
        (x, masks), (other, other_masks) = dataset[i], _dataset(records, **options)[i]
        np.testing.assert_array_equal(x["images"], other["images"])
        np.testing.assert_array_equal(masks, other_masks)


def test_fit_sees_the_same_images_with_any_number_of_workers(write):
    """The losses tell: a run without workers, one with four, and one that goes on in the middle.

    Keras' own workers fail this: `fit` looks at a batch to build the model, and what they drew
    beside it comes in the epochs that follow.
    """
    records = [write(g) for g in range(0, 200, 10)]
    inputs = {
        "images": keras.Input((8, 8, 3), name="images"),
        "modalities": keras.Input((), name="modalities"),
    }
    outputs = keras.layers.Conv2D(1, 1, kernel_initializer="ones")(inputs["images"])
    model = keras.Model(inputs, outputs)
    model.compile(keras.optimizers.SGD(1e-6), "mse")

    class Steps(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            losses.append(float(logs["loss"]))

        def on_epoch_end(self, epoch, logs=None):
            weights.append(model.get_weights())

    runs, weights = [], [model.get_weights()]
    for workers, first in ((1, 0), (4, 0), (2, 1)):
        options = dict(image_size=(8, 8), batch_size=4, steps=3, augment=AUGMENT)
        dataset = _dataset(records, workers=workers, max_queue_size=4, **options)
        dataset.epoch, losses = first, []
        model.set_weights(weights[first])
        model.fit(dataset, epochs=3 - first, verbose=0, shuffle=False, callbacks=[Steps()])
        runs.append(losses)
    assert len(set(runs[0])) == 9
    assert runs[1] == runs[0]
    assert runs[2] == runs[0][3:]


def test_bad_files_stop_the_run_or_are_left_out(write, tmp_path):
    good, bad = write(10), write(20, dataset="broken")
    bad.image.write_bytes(bad.image.read_bytes()[:45])
    other = write(30, mask_size=(8, 12))
    with pytest.raises(InputError, match=r"2 of 3 records .*20.png cannot be .*30.png has 16 x 8"):
        _dataset([good, bad, other])
    for cache in (True, False):
        options = dict(strict=False, cache=cache, steps=1, weights={"broken": 5, "drive": 1})
        dataset = _dataset([bad, good, other], **options)
        assert dataset.records == [good]
        assert [record for record, _ in dataset.left_out] == [bad, other]
        assert "20.png cannot be decoded" in dataset.left_out[0][1]
        assert set(_greys(dataset[0])) == {10}
    # Headers alone do not tell what is damaged behind them.
    dataset = _dataset([bad, other], strict=False, cache=False, scan=False)
    assert [record for record, _ in dataset.left_out] == [other]
    with pytest.raises(InputError, match=r"20.png cannot be decoded"):
        dataset[0]
    with pytest.raises(InputError, match="scan=False without image_size"):
        _dataset([good], cache=False, scan=False, image_size=None)


@pytest.mark.parametrize("cache", [True, False])
def test_pages_are_images(cache, tmp_path):
    pages = [Image.fromarray(np.full((8, 16), 20 * k, "uint8")) for k in range(1, 5)]
    masks = [Image.fromarray(np.full((8, 16), 255 * (k % 2), "uint8")) for k in range(4)]
    for name, some in (("pages.tif", pages), ("masks.tif", masks)):
        some[0].save(tmp_path / name, save_all=True, append_images=some[1:])
    record = Record("train", "xray", "ct", tmp_path / "pages.tif", tmp_path / "masks.tif")
    dataset = _dataset([record], image_size=(8, 16), batch_size=3, cache=cache)
    assert [r.index for r in dataset.records] == [0, 1, 2, 3]
    assert [_greys(dataset[i]) for i in range(2)] == [[20, 40, 60], [80]]
    assert [dataset[i][1].mean(axis=(1, 2, 3)).tolist() for i in range(2)] == [[0, 1, 0], [1]]
    options = dict(batch_size=50, steps=1, cache=cache, seed=1)
    drawn = _dataset([record], image_size=(8, 16), **options)[0]
    assert set(_greys(drawn)) == {20, 40, 60, 80}
    np.testing.assert_array_equal(
        drawn[1].mean(axis=(1, 2, 3)), [g // 20 % 2 == 0 for g in _greys(drawn)]
    )
    marked = _dataset([record], keep_empty=False, image_size=(8, 16), cache=cache)
    assert _greys(marked[0]) == [40, 80]


def test_images_without_masks(write):
    records = [dataclasses.replace(write(g), mask=None, modality="") for g in (10, 20)]
    dataset = SegmentationDataset(records, (), (32, 32), augment={"": Augmentation(rotation=30)})
    (x,) = dataset[0]
    assert list(x) == ["images"]
    assert x["images"].shape == (2, 32, 32, 3)
    (x,) = _dataset([dataclasses.replace(write(10), mask=None)])[0]
    assert x["modalities"].tolist() == [1]
    with pytest.raises(InputError, match=r"1 records without a mask, such as .*10.png, among 2"):
        _dataset([dataclasses.replace(write(10), mask=None), write(20)])
    with pytest.raises(InputError, match="records of no modality; the model knows xray"):
        _dataset([dataclasses.replace(write(10), modality=""), write(20)])


def test_a_modality_has_its_own_augmentation(write):
    records = [write(10, "fundus"), write(20, "xray")]
    flip = Augmentation(
        horizontal_flip=1,
        rotation=0,
        scale=(1, 1),
        shift=0,
        stretch=0,
        brightness=0,
        contrast=0,
        saturation=0,
    )
    plain, flipped = _dataset(records)[0], _dataset(records, augment={"xray": flip})[0]
    np.testing.assert_array_equal(flipped[1][0], plain[1][0])
    np.testing.assert_array_equal(flipped[1][1], plain[1][1][:, ::-1])


@pytest.fixture
def sized(tmp_path):
    """Write an image whose pixels tell their row and column, and the mask of its left half."""

    def sized(height, width, modality="fundus"):
        rows, columns = np.mgrid[:height, :width]
        pixels = np.stack([rows, columns, 0 * rows], axis=-1).astype("uint8")
        name = f"{height}_{width}_{len(list(tmp_path.iterdir()))}"
        image, mask = tmp_path / f"{name}.png", tmp_path / f"{name}_mask.png"
        Image.fromarray(pixels).save(image)
        Image.fromarray(np.where(columns < width // 2, 255, 0).astype("uint8")).save(mask)
        return Record("train", modality, "drive", image, mask)

    return sized


@pytest.mark.parametrize("mode", ["pad", "stretch", "native"])
def test_whole_images_at_their_own_size(mode, sized):
    sizes = [(20, 30), (40, 10), (20, 30), (20, 30), (40, 10)]
    records = [sized(*size, m) for size, m in zip(sizes, ["fundus", "xray"] * 3, strict=False)]
    dataset = _dataset(records, image_size=None, batch_size=2, resize_mode=mode)
    batches = [dataset[i] for i in range(dataset.num_batches)]
    assert [x["images"].shape for x, _ in batches] == [
        (2, 20, 30, 3),
        (1, 20, 30, 3),
        (2, 40, 10, 3),
    ]
    # Every image once, in order of the sizes' first sight, with its own modality.
    assert [x["modalities"].tolist() for x, _ in batches] == [[1, 1], [0], [0, 1]]
    for x, masks in batches:
        height, width = masks.shape[1:3]
        rows, columns = np.mgrid[:height, :width]
        for image, mask in zip(x["images"], masks[..., 0], strict=True):
            np.testing.assert_array_equal(image[..., 0], rows)
            np.testing.assert_array_equal(image[..., 1], columns)
            np.testing.assert_array_equal(mask, columns < width // 2)


def test_native_parts_keep_the_scale(sized):
    records = [sized(100, 120), sized(60, 200)]
    options = dict(image_size=(64, 32), batch_size=4, steps=2, resize_mode="native")
    dataset, other = _dataset(records, **options), _dataset(records, seed=1, **options)
    x, masks = dataset[0]
    assert (x["images"].shape, x["images"].dtype) == ((4, 64, 32, 3), np.uint8)
    assert (masks.shape, masks.dtype) == ((4, 64, 32, 1), np.uint8)
    inside = x["images"][:, 10:50].astype(int)
    # One column of the canvas is one of the image; up to the rounding of a place between two.
    assert np.abs(np.diff(inside[..., 1], axis=2) - 1).max() <= 1
    np.testing.assert_allclose(inside[:, :, -1, 1] - inside[:, :, 0, 1], 31, atol=1)
    assert (x["images"] != other[0][0]["images"]).any()
    np.testing.assert_array_equal(x["images"], dataset[0][0]["images"])
    # What is drawn is at another place each time.
    assert len({int(image[20, 0, 1]) for i in range(2) for image in dataset[i][0]["images"]}) > 4


def test_native_parts_are_augmented_by_modality(sized):
    grown = Augmentation(
        horizontal_flip=0,
        rotation=0,
        scale=(2, 2),
        shift=0,
        stretch=0,
        brightness=0,
        contrast=0,
        saturation=0,
    )
    records = [sized(100, 120, "fundus"), sized(100, 120, "xray")]
    dataset = _dataset(
        records, image_size=(64, 64), batch_size=2, resize_mode="native", augment={"xray": grown}
    )
    columns = dataset[0][0]["images"][:, 32, :, 1].astype(int)
    np.testing.assert_allclose(columns[:, -1] - columns[:, 0], [63, 31.5], atol=1)


def test_steps_need_a_canvas(write):
    with pytest.raises(InputError, match=r"steps=3 without image_size; .* give a canvas"):
        _dataset([write(10)], image_size=None, steps=3)


def test_an_unknown_resize_mode(write):
    with pytest.raises(InputError, match="resize_mode='crop'; expected one of pad, stretch, nati"):
        _dataset([write(10)], resize_mode="crop")


def test_no_records():
    with pytest.raises(InputError, match="Received no records"):
        _dataset([])


def test_an_unknown_modality(write):
    with pytest.raises(InputError, match="records of colonoscopy; the model knows xray, fundus"):
        _dataset([write(10), write(20, "colonoscopy")])


def test_a_mask_of_another_size(write):
    with pytest.raises(InputError, match=r"has 16 x 8 pixels and its mask .* 12 x 8"):
        _dataset([write(10, mask_size=(8, 12))])


def test_weights_need_steps(write):
    with pytest.raises(InputError, match=r"weights=\{'drive': 2.0\} without steps"):
        _dataset([write(10)], weights={"drive": 2.0})


def test_weights_of_a_misspelt_name(write):
    with pytest.raises(
        InputError, match=r"weights of driv; the records are of the dataset drive\."
    ):
        _dataset([write(10)], steps=1, weights={"driv": 2.0})
    with pytest.raises(InputError, match=r"weights of drive; .* of the modality fundus, xray\."):
        records = [write(10), write(20, "xray")]
        _dataset(records, steps=1, balance="modality", weights={"drive": 2.0, "xray": 1})
    with pytest.raises(InputError, match="balance=None, which has no names"):
        _dataset([write(10)], steps=1, balance=None, weights={"drive": 2.0})
    with pytest.raises(InputError, match="balance='image'; expected one of dataset, modality"):
        _dataset([write(10)], balance="image")


@pytest.mark.parametrize("weights", [{"drive": 0}, {"drive": -1.0}, {"drive": float("nan")}])
def test_weights_that_are_no_shares(weights, write):
    with pytest.raises(InputError, match="for the data sets drive; expected numbers"):
        _dataset([write(10)], steps=1, weights=weights)


# === Several targets ===

EYE = ("vessels", "disc", "cup")
SEVERAL = Targets({"xray": ("lungs",), "fundus": EYE, "microscopy": ("mask",)})
LAYOUT = {
    "vessels": np.s_[4:28, 3:9],
    "disc": np.s_[10:24, 20:40],
    "cup": np.s_[14:20, 24:32],
    "lungs": np.s_[2:30, 2:20],
    "": np.s_[7:15, 7:33],
}


@pytest.fixture
def label(tmp_path):
    """Write an image, 32 x 48, and the masks of some targets, and give their record."""

    def label(grey, modality, *targets, **options):
        rng = np.random.default_rng(grey)
        pixels = rng.integers(0, 255, (32, 48, 3), "uint8")
        pixels[0, 0] = grey
        Image.fromarray(pixels).save(tmp_path / f"{grey}.png")
        masks = []
        for name in targets:
            mask = np.zeros((32, 48), "uint8")
            mask[LAYOUT[name]] = 255
            path = tmp_path / f"{grey}_{name}.png"
            Image.fromarray(mask).save(path)
            masks.append(TargetMask(name, path))
        values = {"dataset": "set", **options}
        return Record("train", modality, image=tmp_path / f"{grey}.png", targets=masks, **values)

    return label


def _several(records, **options):
    return _dataset(records, **{"targets": SEVERAL, "image_size": (32, 48), **options})


def _alone(record, name):
    """The same image with the mask of one target alone, as in version 0.1.0."""
    return dataclasses.replace(_named(record, name), targets=())


def _named(record, name):
    own = [one for one in record.targets if one.target == name]
    return dataclasses.replace(record, mask=None, targets=own)


def test_a_channel_for_each_target(label):
    records = [
        label(10, "fundus", "cup", "vessels"),
        label(20, "xray", "lungs"),
        label(30, "microscopy", ""),
        label(40, "fundus", "disc"),
    ]
    x, y = _several(records)[0]
    assert x["modalities"].tolist() == [1, 0, 2, 1]
    assert (y["masks"].shape, y["masks"].dtype) == ((4, 32, 48, 3), np.uint8)
    assert (y["labelled"].shape, y["labelled"].dtype) == ((4, 3), np.bool_)
    assert y["labelled"].tolist() == [
        [True, False, True],
        [True, False, False],
        [True, False, False],
        [False, True, False],
    ]
    expected = np.zeros((4, 32, 48, 3), "uint8")
    for row, channel, name in ((0, 0, "vessels"), (0, 2, "cup"), (1, 0, "lungs"), (2, 0, "")):
        expected[(row, *LAYOUT[name], channel)] = 1
    expected[(3, *LAYOUT["disc"], 1)] = 1
    np.testing.assert_array_equal(y["masks"], expected)


TURNED = {"fundus": Augmentation(rotation=30, scale=(0.7, 1.4), vertical_flip=0.5)}
WAYS = {
    "one pass": dict(batch_size=3),
    "drawn": dict(steps=2, batch_size=5, augment=TURNED),
    "padded": dict(image_size=(64, 64), augment=TURNED),
    "own size": dict(image_size=None, augment=TURNED),
    "native": dict(image_size=(16, 24), resize_mode="native", augment=TURNED),
}


@pytest.mark.parametrize("options", WAYS.values(), ids=WAYS)
def test_each_channel_is_what_its_target_alone_would_be(options, label):
    """To the bit: of all channels, cached and read again, prepared in threads or not."""
    records = [label(grey, "fundus", *EYE) for grey in (10, 20, 30, 40)]
    options = dict(seed=4, **options)
    several = _several(records, **options)
    read_again = _several(records, cache=False, workers=3, **options)
    for channel, name in enumerate(EYE):
        alone = _dataset(
            [_alone(one, name) for one in records], **{"image_size": (32, 48), **options}
        )
        named = _dataset(
            [_named(one, name) for one in records], **{"image_size": (32, 48), **options}
        )
        assert alone.num_batches == several.num_batches
        for i in range(alone.num_batches):
            (x, masks), (other, y), (again, same) = alone[i], several[i], read_again[i]
            np.testing.assert_array_equal(x["images"], other["images"])
            np.testing.assert_array_equal(x["images"], again["images"])
            np.testing.assert_array_equal(masks[..., 0], y["masks"][..., channel])
            np.testing.assert_array_equal(same["masks"], y["masks"])
            assert y["labelled"].all()
            # A target's name changes nothing for a model of one target.
            np.testing.assert_array_equal(named[i][1], masks)


def test_one_named_target_for_each_modality_is_one_channel(label):
    records = [label(10, "fundus", "disc"), label(20, "xray", "lungs")]
    targets = Targets.of_modalities(MODALITIES, {"fundus": "disc", "xray": "lungs"})
    for one in (targets, None):
        masks = _dataset(records, image_size=(32, 48), targets=one)[0][1]
        assert (masks.shape, masks.dtype) == ((2, 32, 48, 1), np.uint8)
        assert [int(mask.sum()) for mask in masks] == [14 * 20, 28 * 18]


@pytest.mark.skipif(
    keras.backend.backend() != "torch", reason="once suffices: processes use no backend"
)
def test_processes_give_the_same_channels(label):
    records = [label(grey, "fundus", *EYE) for grey in (10, 20)]
    options = dict(steps=2, batch_size=3, augment=TURNED)
    expected = _several(records, **options)[1][1]
    found = _several(records, use_multiprocessing=True, **options)[1][1]
    np.testing.assert_array_equal(found["masks"], expected["masks"])
    np.testing.assert_array_equal(found["labelled"], expected["labelled"])


def test_layers_move_all_channels_alike(label):
    records = [label(grey, "fundus", *EYE) for grey in (10, 20, 30)]
    layers = [keras.layers.RandomFlip("horizontal_and_vertical")]
    options = dict(layers=layers, seed=3, image_size=(32, 48))
    y = _several(records, **options)[0][1]
    plain = _several(records, seed=3)[0][1]["masks"]
    assert (y["masks"] != plain).any()
    for channel, name in enumerate(EYE):
        masks = _dataset([_alone(one, name) for one in records], **options)[0][1]
        np.testing.assert_array_equal(masks[..., 0], y["masks"][..., channel])


def test_nested_and_exclusive_masks_stay_so_whatever_moves_them(label):
    targets = Targets(
        {"xray": ("lungs",), "fundus": ("left", "right", "disc", "cup"), "microscopy": ("mask",)},
        exclusive={"fundus": [("left", "right")]},
        nested={"fundus": {"cup": "disc"}},
    )
    LAYOUT.update(left=np.s_[:, :24], right=np.s_[:, 24:])
    records = [label(grey, "fundus", "left", "right", "disc", "cup") for grey in (10, 20, 30)]
    layers = [keras.layers.RandomFlip()]
    for size in ((32, 48), (19, 33)):
        for some in (layers, ()):
            options = dict(steps=2, batch_size=8, augment=TURNED, layers=some, image_size=size)
            dataset = _several(records, targets=targets, **options)
            for i in range(2):
                left, right, disc, cup = np.moveaxis(dataset[i][1]["masks"], -1, 0)
                assert not (left & right).any() and (cup <= disc).all() and cup.any()


def test_targets_are_drawn_by_weight(label):
    """Whatever the number of images; one in which several are labelled is drawn for each."""
    records = [label(grey, "fundus", "vessels") for grey in range(10, 90, 10)]
    records += [label(200, "fundus", "disc", "cup"), label(210, "xray", "lungs")]
    dataset = _several(
        records, batch_size=200, steps=4, balance="target", weights={"fundus/cup": 2}
    )
    greys = np.array([_greys(dataset[i]) for i in range(4)]).ravel()
    shares = [(greys < 100).mean(), (greys == 200).mean(), (greys == 210).mean()]
    np.testing.assert_allclose(shares, [1 / 5, 3 / 5, 1 / 5], atol=0.06)


def test_images_without_masks_have_no_channels(label):
    (x,) = _several([label(10, "fundus", "disc").without_masks()])[0]
    assert x["modalities"].tolist() == [1]


def test_empty_targets(label):
    LAYOUT["disc"] = np.s_[:0, :0]
    try:
        records = [label(10, "fundus", "disc"), label(20, "fundus", "disc", "cup")]
        assert _several(records).blank == [True, False]
        assert _several(records, keep_empty=False, strict=False).records == records[1:]
    finally:
        LAYOUT["disc"] = np.s_[10:24, 20:40]


def test_what_contradicts_the_targets_is_named_or_left_out(label):
    good, bad = label(10, "fundus", "disc", "cup"), label(20, "fundus", "vessels", "cup")
    nested = Targets(SEVERAL.names, nested={"fundus": {"cup": "vessels"}})
    for cache in (True, False):
        options = dict(targets=nested, cache=cache)
        assert len(_several([good], **options).records) == 1
        dataset = _several([good, bad], strict=False, **options)
        assert [record for record, _ in dataset.left_out] == [bad]
        with pytest.raises(InputError, match=r"100 % of cup in .*20_cup.png is outside of vessel"):
            _several([good, bad], **options)
    exclusive = Targets(SEVERAL.names, exclusive={"fundus": [("disc", "cup")]})
    with pytest.raises(InputError, match=r"100 % of cup in .*10_cup.png is also disc in"):
        _several([good], targets=exclusive)
    y = _several([good], targets=exclusive, overlap="neither")[0][1]
    assert y["masks"][0, ..., 1:].sum(axis=(0, 1)).tolist() == [14 * 20 - 6 * 8, 0]


@pytest.mark.parametrize(
    ("targets", "options", "message"),
    [
        (["vessels", "disc"], {"targets": None}, "targets vessels, disc for fundus, of which the"),
        (["lungs"], {}, "target 'lungs' of fundus.* It is a target of xray. It is labelled in"),
        (["", "vessels"], {}, "has a mask without a target's name and one of vessels"),
        (["disc"], {"targets": Targets({"fundus": EYE})}, "targets of fundus for the modalities x"),
        (["disc"], {"overlap": "none"}, "overlap='none'; expected one of error, first, neither"),
        (["disc"], {"balance": "target", "steps": 1, "weights": {"disc": 1}},
         "weights of disc; the records are of the target fundus/disc. Use"),
    ],
)  # fmt: skip
def test_targets_that_do_not_fit_the_model(targets, options, message, label):
    with pytest.raises(InputError, match=message):
        _several([label(10, "fundus", *targets)], **options)
