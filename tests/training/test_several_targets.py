"""Training of several targets: partial labels, what stays as it is, and runs by a configuration."""

import keras
import numpy as np
import pytest
from PIL import Image

import keras_espmedsam as kem
from keras_espmedsam.errors import InputError
from keras_espmedsam.training import RunFolder, SegmentationDataset, train
from keras_espmedsam.training.run import learning_curves

models = kem.models
SIZE = 64

pytestmark = pytest.mark.usefixtures("untraced_tensorflow")


def to_numpy(variables):
    return {v.path: np.array(keras.ops.convert_to_numpy(v)) for v in variables}


def make_segmenter(modalities=("eye", "chest"), **targets):
    encoder = models.TiCBackbone(
        hidden_dims=(16,), depths=(1,), num_heads=(1,), kernel_size=3, neck_dim=64, output_stride=8
    )
    backbone = models.ESPMedSAMBackbone(
        encoder,
        modalities=modalities,
        transformer_depth=1,
        transformer_num_heads=1,
        transformer_mlp_dim=8,
        **targets,
    )
    converter = models.ESPMedSAMImageConverter(image_size=(SIZE, SIZE))
    preprocessor = models.ESPMedSAMImageSegmenterPreprocessor(converter)
    return models.ESPMedSAMImageSegmenter(backbone, preprocessor)


def draw(count, seed):
    """Images with a red disc and a blue square, and the mask of each."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:SIZE, :SIZE]
    images = rng.integers(80, 120, (count, SIZE, SIZE, 3)).astype("uint8")
    masks = np.zeros((count, SIZE, SIZE, 2), "uint8")
    for image, mask in zip(images, masks, strict=True):
        (a, b), (c, d) = rng.integers(14, 50, (2, 2))
        disc = (rows - a) ** 2 + (columns - b) ** 2 < 120
        square = (abs(rows - c) < 9) & (abs(columns - d) < 9)
        image[disc], image[square] = (230, 60, 60), (40, 40, 220)
        mask[..., 0], mask[..., 1] = disc & ~square, square
    return images, masks


# === Partial labels ===

# Seventy steps, which take a minute where they are traced or compiled; what they show of losses and
# the optimizer is tested there without a model.
many_steps = pytest.mark.slow_on("jax", "tensorflow")


@pytest.fixture(scope="module")
def halves():
    """A model that has learnt discs from half of the images and squares from the other half."""
    keras.utils.set_random_seed(0)
    segmenter = make_segmenter(targets={"eye": ("disc", "square")})
    images, masks = draw(24, seed=0)
    labelled = np.arange(24)[:, None] % 2 == [0, 1]
    masks = masks * labelled[:, None, None]
    segmenter.compile(
        keras.optimizers.AdamW(1e-2, weight_decay=0.1, use_ema=True, ema_momentum=0.5)
    )
    x = {"images": images, "modalities": np.zeros(24, "int32")}
    y = {"masks": masks, "labelled": labelled}
    history = segmenter.fit(x, y, batch_size=8, epochs=24, verbose=0).history
    return segmenter, history


@many_steps
def test_a_model_learns_both_targets_from_disjointly_labelled_halves(halves):
    segmenter, history = halves
    images, masks = draw(8, seed=1)
    x = {"images": images, "modalities": np.zeros(8, "int32")}
    found = segmenter.evaluate(x, {"masks": masks}, batch_size=8, verbose=0, return_dict=True)
    assert found["dice_eye/disc"] > 0.8
    assert found["dice_eye/square"] > 0.8
    mean = (found["dice_eye/disc"] + found["dice_eye/square"]) / 2
    assert found["masks_dice"] == pytest.approx(mean, abs=1e-5)
    assert np.isnan(found["dice_chest/mask"])
    assert len(history["dice_eye/disc"]) == 24


@many_steps
def test_a_target_that_no_image_of_a_batch_labels_is_not_updated(halves):
    """With weight decay, momentum and moving averages, all of which move what has no gradient."""
    segmenter, _ = halves
    images, masks = draw(8, seed=2)
    own = [v for v in segmenter.variables if getattr(v, "target", None) == 1]
    assert own
    for labelled, moves in (([True, False], False), ([True, True], True)):
        before, states = to_numpy(own), optimizer_states(segmenter)
        y = {"masks": masks * np.uint8(labelled), "labelled": np.tile(labelled, (8, 1))}
        segmenter.train_on_batch({"images": images, "modalities": np.zeros(8, "int32")}, y)
        after = to_numpy(own)
        assert any((after[path] != before[path]).any() for path in before) == moves
        # The optimizer of the shared weights, and that of the square.
        assert [
            new != old for new, old in zip(optimizer_states(segmenter), states, strict=True)
        ] == [
            True,
            moves,
        ]


def optimizer_states(segmenter):
    """The slots, averages and step count of each copy of the optimizer, as bytes."""
    return [
        [
            keras.ops.convert_to_numpy(v).tobytes()
            for v in copy.variables
            if v.name != "learning_rate"
        ]
        for copy in segmenter.optimizer.copies
    ]


@many_steps
def test_masks_of_what_is_not_labelled_change_no_loss(halves):
    segmenter, _ = halves
    images, masks = draw(8, seed=3)
    labelled = np.tile([True, False], (8, 1))
    x = {"images": images, "modalities": np.zeros(8, "int32")}
    losses = []
    for other in (0, 1):
        masks[..., 1] = other
        y = {"masks": masks, "labelled": labelled}
        losses.append(segmenter.test_on_batch(x, y, return_dict=True))
    assert losses[0] == pytest.approx(losses[1], abs=0, nan_ok=True)


# === Sources ===


class Batches(keras.utils.PyDataset):
    num_batches = 2

    def __init__(self, x, y):
        super().__init__()
        self.x, self.y = x, y

    def __getitem__(self, index):
        rows = slice(8 * index, 8 * index + 8)
        return keras.tree.map_structure(lambda array: array[rows], (self.x, self.y))


def _tensors(x, y):
    torch = pytest.importorskip("torch")
    rows = [keras.tree.map_structure(lambda array, i=i: array[i], (x, y)) for i in range(16)]
    return torch.utils.data.DataLoader(rows, batch_size=8)


def _tf_data(x, y):
    tensorflow = pytest.importorskip("tensorflow")
    return tensorflow.data.Dataset.from_tensor_slices((x, y)).batch(8)


def _generator(x, y):
    batches = Batches(x, y)
    return (batches[index] for index in range(2))


def _sizes(x, y):
    """Images of their own sizes, in lists."""
    x = {"images": list(x["images"]), "modalities": ["eye"] * 16}
    return x, {"masks": list(y["masks"]), "labelled": y["labelled"]}


@many_steps
@pytest.mark.parametrize("source", [Batches, _tensors, _tf_data, _generator, _sizes])
def test_every_source_gives_the_same_loss(halves, source):
    segmenter, _ = halves
    images, masks = draw(16, seed=4)
    labelled = np.arange(16)[:, None] % 3 != [0, 1]
    x = {"images": images, "modalities": np.zeros(16, "int32")}
    y = {"masks": masks * labelled[:, None, None], "labelled": labelled}
    options = {"verbose": 0, "return_dict": True}
    expected = segmenter.evaluate(x, y, batch_size=8, **options)
    found = source(x, y)
    found = found if isinstance(found, tuple) else (found, None)
    batch_size = {"batch_size": 8} if found[1] is not None else {}
    found = segmenter.evaluate(*found, **batch_size, **options)
    assert found == pytest.approx(expected, abs=1e-5, nan_ok=True)


# === Runs by a configuration ===

pytest.importorskip("pydantic")
pytest.importorskip("yaml")


@pytest.fixture(scope="module")
def data(tmp_path_factory, save_small_preset):
    """A preset of one convolution, and an index whose images label one target each."""
    folder = tmp_path_factory.mktemp("targets")
    save_small_preset(folder / "small", ("eye", "chest"))
    rows = ["split,modality,dataset,image,mask,target,instances"]
    images, masks = draw(6, seed=5)
    for i, (one, mask) in enumerate(zip(images, masks, strict=True)):
        Image.fromarray(one).save(folder / f"{i}.png")
        target = ("disc", "square")[i % 2]
        Image.fromarray(mask[..., i % 2] * np.uint8(255)).save(folder / f"{i}_mask.png")
        Image.fromarray(mask[..., i % 2].astype("uint16")).save(folder / f"{i}_objects.png")
        objects = f"{i}_objects.png" if target == "square" else ""
        split = "val" if i > 3 else "train"
        rows.append(f"{split},eye,{target}s,{i}.png,{i}_mask.png,{target},{objects}")
    (folder / "index.csv").write_text("\n".join(rows) + "\n")
    return folder


@pytest.fixture
def config(data, tmp_path, monkeypatch):
    monkeypatch.setattr(learning_curves, "_draw", lambda *_: None)
    return {
        "output": str(tmp_path / "run"),
        "model": {
            "preset": str(data / "small"),
            "name_targets": {"eye": "disc"},
            "add_targets": {"eye": ["square"]},
            "train_only": "added",
        },
        "data": {"sources": [{"index": str(data / "index.csv")}], "balance": "target"},
        "phases": [
            {"epochs": 2, "steps": 2, "batch_size": 2, "learning_rate": {"rate": 1e-2}}
            | {"optimizer": {"name": "adamw", "weight_decay": 0.1, "ema_momentum": 0.5}}
        ],
    }


def quiet(config, report=lambda _: None):
    return train(config, report=report, verbose=0)


def load(preset):
    return models.ESPMedSAMImageSegmenter.from_preset(preset)


def old_masks(segmenter):
    images = draw(2, seed=6)[0].astype("float32")[:, ::2, ::2]
    x = {"images": images / 128 - 1, "modalities": np.array([0, 1], "int32")}
    return keras.ops.convert_to_numpy(segmenter(x)["masks"])[..., :1]


@pytest.mark.slow_on("jax", "tensorflow")
def test_added_targets_alone_are_trained_and_old_masks_stay_bit_for_bit(config, data, capsys):
    told = []
    preset = train(config, report=told.append, verbose=2)
    old, new = load(data / "small"), load(preset)
    assert new.targets == {"eye": ("disc", "square"), "chest": ("mask",)}
    np.testing.assert_array_equal(old_masks(new), old_masks(old))
    assert "Labelled for training: eye/disc 2, eye/square 2." in told
    assert "Not labelled for training: chest/mask." in told
    curves = (preset.parent / "1-phase" / "curves.csv").read_text().splitlines()
    assert {"val_masks_dice", "val_dice_eye/disc", "val_dice_eye/square"} <= {*curves[0].split(",")}
    assert len(curves) == 3
    # No chest is labelled: that is empty in the table, and nothing in what is printed.
    printed = capsys.readouterr().out
    assert " - val_dice_eye/disc: " in printed
    assert "nan" not in printed and "chest" not in printed
    rows = [dict(zip(curves[0].split(","), row.split(","), strict=True)) for row in curves[1:]]
    assert [row["val_dice_chest/mask"] for row in rows] == ["", ""]
    assert all(float(row["val_masks_dice"]) >= 0 for row in rows)


class Killed(Exception):
    pass


@pytest.mark.slow_on("jax", "tensorflow")
def test_an_interrupted_run_gives_the_weights_of_an_uninterrupted_one(
    config, tmp_path, monkeypatch
):
    config["model"]["train_only"] = None
    expected = to_numpy(load(quiet(config)).weights)
    end = RunFolder._end_epoch

    def end_epoch(run, *arguments):
        end(run, *arguments)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "_end_epoch", end_epoch)
        config["output"] = str(tmp_path / "again")
        with pytest.raises(Killed):
            quiet(config)
    found = to_numpy(load(quiet(config)).weights)
    for (path, value), other in zip(expected.items(), found.values(), strict=True):
        np.testing.assert_array_equal(other, value, err_msg=path)


@pytest.mark.slow_on("jax", "tensorflow")
def test_objects_are_learnt_by_a_hidden_map(config, data):
    config["model"] |= {"instances": {"eye": "square"}}
    new = load(quiet(config))
    assert new.target_set.channels("eye") == ("disc", "square", "square:core")
    np.testing.assert_array_equal(old_masks(new), old_masks(load(data / "small")))


@pytest.mark.slow_on("jax", "tensorflow")
def test_an_added_modality_has_targets_and_changes_no_old_mask(config, data):
    config["model"] = {
        "preset": str(data / "small"),
        "add_modality": {"name": "skin", "init_from": "eye", "targets": ["square", "disc"]},
        "exclusive": {"skin": [["square", "disc"]]},
    }
    new = load(quiet(config))
    assert new.targets["skin"] == ("square", "disc")
    assert new.target_set.exclusive == {"skin": (("square", "disc"),)}
    # The place of the added query changes how sums are rounded.
    np.testing.assert_allclose(old_masks(new), old_masks(load(data / "small")), atol=1e-5)


def changed(config, path, value):
    config = {**config}
    place, keys = config, path.split(".")
    for key in keys[:-1]:
        place[key] = dict(place.get(key) or {})
        place = place[key]
    place[keys[-1]] = value
    return config


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("model.add_targets", {"eye": ["disc"]}, "'disc' as a new target of eye, which this model"),
        ("model.add_targets", {"eyes": ["square"]}, "'eyes'.* did you mean eye"),
        ("model.add_targets", {"eye": ["a b"]}, "different names of letters, digits"),
        (
            "model.add_targets",
            {"eye": [{"name": "square", "init_from": "disk"}]},
            "init_from='disk' for square of eye; did you mean disc",
        ),
        ("model.add_targets", {"eye": ["square", "star"]}, "No image for training labels eye/star"),
        ("model.add_targets", {"eye": ["star"]}, "'square' of eye.*It is labelled in .*png"),
        ("model.instances", {"eye": "disc"}, "labels eye/disc:core.*images of instances"),
        ("model.name_targets", {"eyes": "disc"}, "'eyes'.* did you mean eye"),
        ("model.nested", {"eye": {"disc": "square"}}, "'disc' of eye.*change the masks of an old"),
        ("model.nested", {"eye": {"squares": "disc"}}, "'squares' of eye"),
        ("phases", [{"loss": "published"}], "one value for the whole batch"),
        ("phases", [{"loss": "standard", "resize_mode": "stretch"}], "targets that are added to"),
        ("phases", [{"image_size": 64}], "takes only images of 32 x 32; leave the size out"),
    ],
)
def test_what_cannot_be_trained_is_told_before_the_first_step(config, path, value, words):
    with pytest.raises(InputError, match=words):
        quiet(changed(config, path, value))


def test_a_model_of_its_own_declares_its_targets():
    from keras_espmedsam.training.build_segmenter import build_segmenter
    from keras_espmedsam.training.config.model_settings import ModelSettings
    from keras_espmedsam.training.config.settings import load_settings

    settings = {
        "encoder": {"kind": "tic", "hidden_dims": [8], "depths": [1], "num_heads": [1]},
        "decoder": {"transformer_num_heads": 2, "transformer_mlp_dim": 8, "num_queries": 3},
        "modalities": ["eye", "chest"],
        "targets": {"eye": ["disc", "cup"], "chest": "lungs"},
        "nested": {"eye": {"cup": "disc"}},
        "target_adapters": {"eye": {"cup": 2}},
        "self_prompt_targets": "each",
    }
    settings["encoder"] |= {"kernel_size": 3, "neck_dim": 16, "output_stride": 8}
    backbone = build_segmenter(load_settings(ModelSettings, settings)).backbone
    assert backbone.targets == {"eye": ("disc", "cup"), "chest": ("lungs",)}
    assert backbone.target_set.nested == {"eye": {"cup": "disc"}}
    assert backbone.target_adapters == {"eye": {"cup": 2}}
    assert backbone.self_prompt_targets == "each"


def test_a_data_set_says_what_is_labelled(data):
    targets = kem.data.Targets({"eye": ("disc", "square"), "chest": ("mask",)})
    records = kem.data.read_index(data / "index.csv")
    dataset = SegmentationDataset(records, targets.modalities, (32, 32), targets=targets)
    assert dataset.labelled.tolist() == [[True, False], [False, True]] * 3
