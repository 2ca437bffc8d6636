"""Runs by a configuration: phases, interruptions, bad files, what the preset is."""

import functools
import json

import keras
import numpy as np
import pytest
from PIL import Image

import keras_espmedsam as kem
from keras_espmedsam.errors import InputError
from keras_espmedsam.hub.origins import read_origins
from keras_espmedsam.training import RunFolder, training_run
from keras_espmedsam.training.build_segmenter import (
    build_segmenter,
    checkpoint_gradients,
    with_position_grid,
)
from keras_espmedsam.training.config.model_settings import ModelSettings
from keras_espmedsam.training.config.phase_settings import LearningRateSettings, OptimizerSettings
from keras_espmedsam.training.config.settings import load_settings
from keras_espmedsam.training.config.train_config import TrainConfig
from keras_espmedsam.training.make_optimizer import make_learning_rate, make_optimizer
from keras_espmedsam.training.run import learning_curves

NAMES = ["xray", "fundus"]
RECALL = {"level": 0.9, "threshold": 0.25, "num_images": 20, "datasets": ["clinic"]}


def plain_segmenter(settings=None, image_size=None, *_):
    """As small as it can be: what is tested here is the run and not the network."""
    encoder = kem.models.TiCBackbone(
        hidden_dims=(8,), depths=(1,), num_heads=(1,), kernel_size=3, neck_dim=8, output_stride=16
    )
    backbone = kem.models.ESPMedSAMBackbone(
        encoder,
        modalities=NAMES,
        transformer_depth=1,
        transformer_num_heads=1,
        transformer_mlp_dim=8,
    )
    converter = kem.models.ESPMedSAMImageConverter(image_size=image_size or (32, 32))
    preprocessor = kem.models.ESPMedSAMImageSegmenterPreprocessor(converter)
    return kem.models.ESPMedSAMImageSegmenter(backbone, preprocessor)


train = functools.partial(training_run.train, build=plain_segmenter)


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(learning_curves, "_draw", lambda *_: None)
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.run_functions_eagerly(True)
        yield
        tf.config.run_functions_eagerly(False)
    else:
        yield


@pytest.fixture
def config(tmp_path):
    """Two phases on six images, one of which cannot be read."""
    rng = np.random.default_rng(0)
    lines = ["split,modality,dataset,image,mask"]
    for i in range(6):
        mask = np.zeros((24, 40), "uint8")
        mask[:, i : i + 20] = 255
        Image.fromarray(mask).save(tmp_path / f"{i}_mask.png")
        image = mask[..., None] // 2 + rng.integers(0, 60, (24, 40, 3), "uint8")
        Image.fromarray(image).save(tmp_path / f"{i}.png")
        split, name = ("val" if i > 3 else "train"), NAMES[i % 2]
        lines.append(f"{split},{name},{name}s,{i}.png,{i}_mask.png")
    lines.append("train,fundus,funduss,bad.png,5_mask.png")
    (tmp_path / "bad.png").write_bytes(b"no image")
    (tmp_path / "index.csv").write_text("\n".join(lines))
    rate = {"rate": 1e-2, "schedule": "cosine", "warmup_steps": 1}
    return {
        "output": str(tmp_path / "run"),
        "seed": 1,
        "model": {"encoder": {"kind": "tiny_vit"}, "modalities": NAMES},
        "data": {"sources": [{"index": str(tmp_path / "index.csv")}]},
        "early_stopping": {"patience": 5},
        "phases": [
            {"name": "coarse", "image_size": 32, "epochs": 2, "steps": 2, "batch_size": 2}
            | {"learning_rate": rate},
            {"image_size": [32, 64], "epochs": 2, "steps": None, "batch_size": 2}
            | {"parts": ["decoder", "queries"], "loss": "published"},
        ],
    }


@pytest.fixture
def twelve_bits(config, tmp_path):
    """The same images with 12 of 16 bits used."""
    for i in range(6):
        array = np.asarray(Image.open(tmp_path / f"{i}.png").convert("L")).astype("uint16")
        Image.fromarray(array * 16).save(tmp_path / f"{i}.png")
    config["phases"] = [{**config["phases"][0], "epochs": 1}]
    return config


class Killed(Exception):
    pass


def killed_after(monkeypatch, epochs):
    """Let the program end when so many epochs have been written."""
    end, left = RunFolder._end_epoch, [epochs]

    def end_epoch(run, *arguments):
        end(run, *arguments)
        left[0] -= 1
        if not left[0]:
            raise Killed

    monkeypatch.setattr(RunFolder, "_end_epoch", end_epoch)


def load(preset):
    return kem.models.ESPMedSAMImageSegmenter.from_preset(preset)


def weights(segmenter):
    return [keras.ops.convert_to_numpy(w) for w in segmenter.weights]


# On JAX every start compiles for half a minute what its tests of RunFolder, of the parts and of the
# optimisers have compiled before.
slow_to_compile = pytest.mark.skipif(
    keras.backend.backend() == "jax", reason="runs on the two other backends"
)


@slow_to_compile
def test_a_run_tells_what_it_does_and_writes_the_best_weights_as_a_preset(config, tmp_path):
    said = []
    config["phases"] = [{**config["phases"][0], "epochs": 1}]
    config["tensorboard"] = True
    preset = train(config, report=said.append, verbose=0)
    text = "\n".join(said)
    for words in ("Training in", "4 images for training", "2 images for validation"):
        assert words in text
    assert said[-1].startswith(f"Measure it with: espmedsam evaluate --preset {preset} ")
    assert "1 left out of training:\n  " in text and text.count("bad.png") == 1
    logs = tmp_path / "run" / "1-coarse" / "tensorboard"
    assert list(logs.glob("train/events*")) and list(logs.glob("validation/events*"))
    best = plain_segmenter()
    RunFolder(tmp_path / "run" / "1-coarse").load_best(best)
    for own, expected in zip(weights(load(preset)), weights(best), strict=True):
        np.testing.assert_array_equal(own, expected)


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="as above, and slow to trace")
def test_an_interrupted_run_gives_the_weights_of_an_uninterrupted_one(
    config, tmp_path, monkeypatch
):
    said = []
    preset = train(config, report=said.append, verbose=0)
    expected = load(preset)
    assert expected.preprocessor.image_converter.image_size == (32, 64)
    first = plain_segmenter()
    RunFolder(tmp_path / "run" / "1-coarse").load_best(first)
    changed = {
        w.path
        for w, own, old in zip(expected.weights, weights(expected), weights(first), strict=True)
        if not np.array_equal(own, old)
    }
    # The second phase trains the decoder alone, from the weights of the first.
    assert changed and all("mask_decoder" in path for path in changed)

    other = {**config, "output": str(tmp_path / "other")}
    for epochs in (1, 2):
        with monkeypatch.context() as patch, pytest.raises(Killed):
            killed_after(patch, epochs)
            train(other, report=said.append, verbose=0)
    again = load(train(other, report=said.append, verbose=0))
    assert "2-phase: epoch 2 to 2." in said and any("Resuming" in one for one in said)
    for own, old in zip(weights(again), weights(expected), strict=True):
        np.testing.assert_array_equal(own, old)

    # Done: nothing is trained, and another configuration is refused.
    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "fit", None)
        assert train(config, report=said.append, verbose=0) == preset
        assert train(config, ["data.workers=2"], said.append, verbose=0) == preset
    with pytest.raises(InputError, match=r"started with phases\.0\.epochs=2 and is now given 3"):
        train(config, ["phases.0.epochs=3"], report=said.append)


@slow_to_compile
def test_a_phase_with_frozen_batch_norm_keeps_its_statistics(config):
    def built(*arguments):
        keras.utils.set_random_seed(3)
        return plain_segmenter(*arguments)

    config["phases"] = [{**config["phases"][0], "epochs": 1, "batch_norm": "frozen"}]
    trained = load(training_run.train(config, report=lambda _: None, verbose=0, build=built))
    changed = {"moving": [], "other": []}
    for new, old in zip(trained.weights, built().weights, strict=True):
        same = np.array_equal(*map(keras.ops.convert_to_numpy, (new, old)))
        changed["moving" if "moving" in new.path else "other"].append(not same)
    assert changed["moving"] and not any(changed["moving"])
    assert any(changed["other"])


def test_strict_stops_before_the_first_step(config, tmp_path):
    with pytest.raises(InputError, match=r"bad\.png"):
        train(config, ["data.strict=true"], report=lambda _: None, verbose=0)
    assert not (tmp_path / "run" / "1-coarse").exists()


def test_masks_that_are_all_empty_are_told(config, tmp_path):
    black, said = np.zeros((24, 40), "uint8"), []
    for name in ("0", "2", "4"):  # All of xray.
        Image.fromarray(black).save(tmp_path / f"{name}_mask.png")
    with pytest.raises(Killed):
        train(config, report=functools.partial(_until, "1-coarse: epoch", said), verbose=0)
    told = [sentence for sentence in said if sentence.startswith("All masks")]
    assert told == [
        f"All masks of xrays for {name} are empty." for name in ("training", "validation")
    ]
    for name in ("1", "3"):
        Image.fromarray(black).save(tmp_path / f"{name}_mask.png")
    with pytest.raises(InputError, match="4 images for training whose masks are all empty"):
        train(config, report=said.append, verbose=0)


def test_appearance_and_data_sets_that_are_left_out(config, monkeypatch):
    made = []

    def dataset(records, **options):
        made.append((records, options))
        raise Killed

    monkeypatch.setattr(training_run, "SegmentationDataset", dataset)
    config |= {"appearance": {"gamma": 0.5}, "augmentation": {"xrays": {"rotation": 3}}}
    config["data"] |= {"exclude_datasets": ["xrays"], "balance": ["modality", "dataset"]}
    for own, names in ((None, ["Gamma"]), ({"jpeg": 1, "noise": 1}, ["Noise", "JPEGCompression"])):
        config["phases"][0]["appearance"] = own
        with pytest.raises(Killed):
            train(config, report=lambda _: None, verbose=0)
        records, options = made.pop()
        assert {record.dataset for record in records} == {"funduss"}
        found = {n: [type(t).__name__ for t in a.appearance] for n, a in options["augment"].items()}
        assert found == {"xray": names, "fundus": names}
        assert options["balance"] == ["modality", "dataset"]


def _until(words, said, sentence):
    said.append(sentence)
    if sentence.startswith(words):
        raise Killed


def test_a_folder_of_something_else_is_refused(config, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("")
    with pytest.raises(InputError, match=r"holds thesis\.txt and no run"):
        train(config, report=lambda _: None)


def test_a_second_run_is_refused_while_the_first_builds_its_model(config, tmp_path):
    def build(*arguments):
        with pytest.raises(InputError, match="Another program is training in"):
            train(config, ["seed=2"], report=lambda _: None)
        raise Killed

    with pytest.raises(Killed):
        train(config, report=lambda _: None, build=build)
    held = load_settings(TrainConfig, tmp_path / "run" / "config.yaml")
    assert held.seed == 1
    # It is free again, and goes on with the same settings alone once it has trained an epoch.
    with pytest.raises(Killed):
        train(config, ["seed=2"], report=lambda _: None, build=lambda *_: _raise(Killed))
    assert load_settings(TrainConfig, tmp_path / "run" / "config.yaml").seed == 2


def _raise(error):
    raise error


def test_splits_that_are_not_there_or_overlap_are_told(config):
    for change, words in (
        ("data.val_splits=[validation]", "no split 'validation', which val_splits names"),
        ("data.val_splits=[train]", "in train_splits and in val_splits"),
    ):
        with pytest.raises(InputError, match=words):
            train(config, [change, f"output={config['output']}{len(words)}"], report=str)


# === What the run is made of ===


def test_an_encoder_of_one_size_takes_no_images_of_any_size():
    encoder = {"kind": "vit_med", "hidden_dim": 8, "depth": 1, "num_heads": 1, "neck_dim": 8}
    encoder |= {"global_indices": [0], "num_tokens": 1}
    settings = ModelSettings(
        encoder=encoder, decoder={"transformer_num_heads": 1}, modalities=["xray"]
    )
    with pytest.raises(InputError, match=r"native for a model .*only images of 32 x 64"):
        build_segmenter(settings, (32, 64), "native")


@pytest.mark.parametrize(
    ("settings", "step", "expected"),
    [
        ({"rate": 0.5}, 7, 0.5),
        ({"rate": 0.5, "schedule": "exponential"}, 19, 0.5 * 0.98),
        ({"rate": 0.5, "schedule": "exponential", "decay_per_epoch": 0.5}, 30, 0.5**4),
        ({"rate": 0.5, "schedule": "cosine"}, 20, 0.25),
        ({"rate": 0.5, "schedule": "cosine", "warmup_steps": 10}, 10, 0.5),
        ({"rate": 0.5, "schedule": "cosine", "warmup_steps": 10, "final_rate": 0.1}, 40, 0.1),
    ],
)
def test_learning_rates(settings, step, expected):
    rate = make_learning_rate(LearningRateSettings(**settings), epochs=4, steps=10)
    found = rate if isinstance(rate, float) else float(keras.ops.convert_to_numpy(rate(step)))
    assert found == pytest.approx(expected, rel=1e-5)


def test_a_warm_up_longer_than_the_phase_is_told():
    settings = LearningRateSettings(schedule="cosine", warmup_steps=40)
    with pytest.raises(InputError, match="a phase of 40 steps; give fewer"):
        make_learning_rate(settings, epochs=4, steps=10)


def test_optimizers():
    settings = OptimizerSettings(
        name="sgd", momentum=0.9, weight_decay=0.1, accumulation_steps=2, ema_momentum=0.5
    )
    optimizer = make_optimizer(settings, 0.1, None, "mixed_float16")
    assert isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
    inner = optimizer.inner_optimizer.optimizer
    config = inner.get_config()
    assert isinstance(inner, keras.optimizers.SGD)
    names = ("momentum", "weight_decay", "gradient_accumulation_steps", "use_ema", "ema_momentum")
    assert [config[name] for name in names] == [0.9, 0.1, 2, True, 0.5]
    encoder = kem.models.TiCBackbone(
        hidden_dims=(8, 8), depths=(1, 1), num_heads=(1, 1), kernel_size=3
    )
    optimizer = make_optimizer(OptimizerSettings(layer_decay=0.5), 0.1, encoder)
    assert optimizer.learning_rate_multipliers["stage_0_block_0"] == 0.5


@pytest.mark.slow_on("tensorflow")
def test_a_vision_transformer_keeps_its_weights_over_phases_of_several_sizes():
    encoder = dict(kind="vit_med", hidden_dim=16, depth=1, num_heads=2, global_indices=[0])
    encoder |= {"neck_dim": 8, "num_tokens": 1}
    decoder = dict(transformer_depth=1, transformer_num_heads=1, transformer_mlp_dim=8)
    settings = ModelSettings(encoder=encoder, decoder=decoder, modalities=NAMES)
    settings = with_position_grid(settings, (32, 64))
    built = [build_segmenter(settings, size) for size in ((32, 64), (64, 64))]
    shapes = [[tuple(w.shape) for w in segmenter.weights] for segmenter in built]
    assert shapes[0] == shapes[1]
    assert built[1].backbone.input["images"].shape == (None, 64, 64, 3)
    with pytest.raises(InputError, match="built for one image size"):
        build_segmenter(settings)


@pytest.mark.parametrize(
    ("encoder", "words"),
    [
        ({"hidden_dim": 8}, r"unknown key model\.encoder\.hidden_dim; did you mean hidden_dims"),
        ({"num_modalities": 8}, r"unknown key model\.encoder\.num_modalities"),
        ({"depths": [1]}, "TinyViTBackbone received 4 hidden_dims, 1 depths"),
        ({"depths": "many"}, "The model cannot be built"),
    ],
)
def test_encoders_that_cannot_be_made_are_told(encoder, words):
    with pytest.raises(InputError, match=words):
        build_segmenter(ModelSettings(encoder={"kind": "tiny_vit", **encoder}))


def test_a_preset_with_other_settings(tmp_path):
    segmenter = plain_segmenter()
    segmenter.save_to_preset(tmp_path / "preset")
    settings = ModelSettings(preset=str(tmp_path / "preset"))
    loaded = build_segmenter(settings, (64, 32), "stretch", "mixed_bfloat16")
    converter = loaded.preprocessor.image_converter
    assert (converter.image_size, converter.resize_mode) == ((64, 32), "stretch")
    assert loaded.backbone.dtype_policy.name == "mixed_bfloat16"
    for own, old in zip(weights(loaded), weights(segmenter), strict=True):
        np.testing.assert_array_equal(own, old)
    assert build_segmenter(settings, None, "native").preprocessor.image_converter.image_size is None
    build_segmenter(settings, gradient_checkpointing=True)
    image = keras.Input((32, 32, 3))
    with pytest.raises(InputError, match="gradient_checkpointing for Functional"):
        checkpoint_gradients(keras.Model(image, keras.layers.Conv2D(8, 16, strides=16)(image)))
    metadata = json.loads((tmp_path / "preset" / "metadata.json").read_text())
    assert metadata["parameter_count"] == segmenter.backbone.count_params()


def test_a_teacher_without_controllers_and_a_decoder_with_details():
    encoder = {
        **{"kind": "tiny_vit", "hidden_dims": [8, 8], "depths": [1, 1], "num_heads": [1]},
        **{"window_sizes": [4], "strides": [2], "neck_dim": 16, "output_stride": 8},
    }
    settings = ModelSettings(
        encoder=encoder,
        controllers=False,
        modalities=NAMES,
        decoder={"transformer_num_heads": 1, "transformer_mlp_dim": 8, "detail_dims": [4, 4]},
    )
    backbone = build_segmenter(settings, (32, 32)).backbone
    assert backbone.image_encoder.num_modalities == 0
    assert backbone.detail_dims == (4, 4)


@slow_to_compile
def test_black_and_white_of_the_values_are_told(twelve_bits):
    said = []
    preset = train(twelve_bits, report=said.append, verbose=0)
    assert "Of 4 images for training: only 12 of its 16 bits are used" in "\n".join(said)
    assert load(preset).intensity == "auto"


@slow_to_compile
def test_black_and_white_that_are_said_are_trained_on_and_kept(twelve_bits, tmp_path, monkeypatch):
    """The images are those of 8 bits, and the preset knows what to do with the next ones."""
    seen = []
    make = training_run.SegmentationDataset

    def made(*arguments, **options):
        seen.append(make(*arguments, **options))
        return seen[-1]

    monkeypatch.setattr(training_run, "SegmentationDataset", made)
    twelve_bits["data"]["intensity"] = [0, 4080]
    said = []
    preset = train(twelve_bits, report=said.append, verbose=0)
    assert "bits" not in "\n".join(said)
    images = seen[1][0][0]["images"]  # of validation, which is not augmented
    for k, i in enumerate((4, 5)):
        stored = np.asarray(Image.open(tmp_path / f"{i}.png")) / 16
        width = round(40 * 32 / 40)
        place = kem.models.ESPMedSAMImageConverter(image_size=(32, 32)).place((24, 40))
        expected = place.forward(stored.astype("float32"))[: place.inner[0], :width]
        np.testing.assert_allclose(images[k, : place.inner[0], :width, 0], expected, atol=0.51)
    assert load(preset).intensity == (0.0, 4080.0)


@slow_to_compile
def test_a_presets_black_and_white_are_applied_once_in_training(twelve_bits, tmp_path, monkeypatch):
    """By the data sets, and not by the model's converter again; the new preset keeps them."""
    twelve_bits["data"]["intensity"] = [0, 4080]
    first = train(twelve_bits, verbose=0)
    begun = load(first)
    assert begun.intensity == (0.0, 4080.0)
    kem.models.ESPMedSAMImageSegmenter(
        begun.backbone, begun.preprocessor, guarantees={"xray": {"mask": {"recall": RECALL}}}
    ).save_to_preset(first)
    fed = []
    fit = training_run.fit

    def spied(run, devices, segmenter, training, validation, *arguments):
        images = validation[0][0]["images"]
        fed.append((images, segmenter.preprocessor.image_converter(images)))
        fit(run, devices, segmenter, training, validation, *arguments)

    monkeypatch.setattr(training_run, "fit", spied)
    del twelve_bits["data"]["intensity"]
    again = {**twelve_bits, "model": {"preset": str(first)}, "output": str(tmp_path / "again")}
    again["phases"] = [{**again["phases"][0], "image_size": None}]
    preset = training_run.train(again, verbose=0)
    (images, inputs), *_ = fed
    stored = np.asarray(Image.open(tmp_path / "4.png")) / 16
    assert abs(float(images[0, :19].max()) - stored.max()) < 30
    expected = kem.models.ESPMedSAMImageConverter(image_size=(32, 32))(images)
    np.testing.assert_allclose(*map(keras.ops.convert_to_numpy, (inputs, expected)), atol=1e-5)
    trained = load(preset)
    assert trained.intensity == (0.0, 4080.0)
    assert (load(first).guarantees != {}, trained.guarantees) == (True, {})  # Of other weights.
    assert (read_origins(first), read_origins(preset)[0].name) == ([], "run/preset")


@slow_to_compile
def test_the_preset_keeps_what_an_index_says_of_all(twelve_bits, tmp_path):
    lines = (tmp_path / "index.csv").read_text().splitlines()
    lines = [lines[0] + ",intensity", *(line + ",0:4080" for line in lines[1:])]
    (tmp_path / "index.csv").write_text("\n".join(lines))
    preset = train(twelve_bits, report=[].append, verbose=0)
    assert load(preset).intensity == (0.0, 4080.0)
