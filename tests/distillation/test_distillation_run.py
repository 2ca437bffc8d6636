"""Distillation by a configuration: every phase, interrupted and gone on with."""

import keras
import numpy as np
import pytest
from PIL import Image

import keras_espmedsam as kem
from keras_espmedsam.distillation import Teacher, distill, distillation_run
from keras_espmedsam.distillation.config import TeacherSettings
from keras_espmedsam.distillation.named_teacher import named_teacher
from keras_espmedsam.errors import InputError, InputWarning
from keras_espmedsam.hub.origins import read_origins
from keras_espmedsam.training import RunFolder
from keras_espmedsam.training.build_segmenter import build_segmenter
from keras_espmedsam.training.config.model_settings import ModelSettings
from keras_espmedsam.training.run import learning_curves
from keras_espmedsam.training.run.folder_lock import RUN_LOCK, only_program

NAMES = ["xray", "fundus"]
DECODER = {"transformer_depth": 1, "transformer_num_heads": 1, "transformer_mlp_dim": 8}


@pytest.fixture(autouse=True)
def _undrawn(monkeypatch):
    monkeypatch.setattr(learning_curves, "_draw", lambda *_: None)


@pytest.fixture
def config(tmp_path):
    """A student of one block, a medical teacher of two, and a common one of one convolution."""
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
    (tmp_path / "index.csv").write_text("\n".join(lines))
    (tmp_path / "photographs").mkdir()
    for i in range(4):
        image = Image.fromarray(rng.integers(0, 256, (20, 20, 3), "uint8"))
        image.save(tmp_path / "photographs" / f"{i}.png")
    (tmp_path / "photographs" / "bad.jpg").write_bytes(b"no image")
    image = keras.Input((None, None, 3))
    keras.Model(image, keras.layers.Conv2D(4, 16, strides=16)(image)).save(tmp_path / "sam.keras")
    phase = {"epochs": 1, "steps": 2, "batch_size": 2}
    return {
        "output": str(tmp_path / "run"),
        "image_size": 32,
        "student": {
            "encoder": {"kind": "tic", "hidden_dims": [8], "depths": [1], "num_heads": [1]}
            | {"kernel_size": 3, "neck_dim": 8, "output_stride": 16, "adapter_ratio": 1},
            "decoder": DECODER,
            "modalities": NAMES,
        },
        "common_teachers": [
            {"name": "sam", "file": str(tmp_path / "sam.keras"), "normalization": "unit"}
        ],
        "medical_teacher": {
            "encoder": {"kind": "vit_med", "hidden_dim": 16, "depth": 1, "num_heads": 2}
            | {"global_indices": [0], "neck_dim": 8, "num_tokens": 1},
            "decoder": DECODER,
            "modalities": NAMES,
        },
        "common_data": {
            "sources": [{"folder": str(tmp_path / "photographs")}],
            "split_fractions": {"train": 0.5, "val": 0.5},
        },
        "data": {"sources": [{"index": str(tmp_path / "index.csv")}], "balance": "modality"},
        "phases": [
            {"phase": "common", **phase},
            {"phase": "teacher", "parts": "all", **phase},
            {"phase": "controllers", **phase, "epochs": 2},
            {"phase": "both", **phase, "losses": [{"loss": "cosine", "weight": 2}]},
            {"phase": "joint", **phase},
        ],
    }


class Killed(Exception):
    pass


def killed_after(patch, epochs):
    """Let the program end when so many epochs have been written."""
    end, left = RunFolder._end_epoch, [epochs]

    def end_epoch(run, *arguments):
        end(run, *arguments)
        left[0] -= 1
        if not left[0]:
            raise Killed

    patch.setattr(RunFolder, "_end_epoch", end_epoch)


def load(path):
    return kem.models.ESPMedSAMImageSegmenter.from_preset(path)


def arrays(weights):
    return {w.path: keras.ops.convert_to_numpy(w).copy() for w in weights}


# What depends on the backend, the distiller's step and the run's state, is tested on all three in
# test_distiller.py and in training/test_run_folder.py; compiling five phases takes minutes.
@pytest.mark.skipif(keras.backend.backend() != "torch", reason="five phases, slow to compile")
def test_all_phases_interrupted_in_two(config, tmp_path, monkeypatch):
    config["cache"] = {"folder": str(tmp_path / "cache"), "variants": ["identity", "hflip"]}
    said = []
    for epochs in (3, 2):  # In the phase of controllers, then after that of both.
        with monkeypatch.context() as patch, pytest.raises(Killed):
            killed_after(patch, epochs)
            distill(config, report=said.append, verbose=0)
    preset = distill(config, report=said.append, verbose=0)
    run = tmp_path / "run"
    folders = [path.name for path in sorted(run.iterdir()) if path.name[0].isdigit()]
    assert folders == ["1-common", "2-teacher", "3-controllers", "4-both", "5-joint"]
    words = ("common_embedding_mse", "masks_dice", "domain_embedding_mse")
    words += ("domain_embedding_cosine", "label_masks")
    for name, word in zip(folders, words, strict=True):
        lines = (run / name / "curves.csv").read_text().splitlines()
        assert word in lines[0] and f"val_{word}" in lines[0]
        assert len(lines) == (3 if name == "3-controllers" else 2)
    assert "3-controllers: epoch 2 to 2." in said
    assert any("bad.jpg" in line for line in said)

    # The phase of controllers trained these alone, with the teacher's decoder.
    student, teacher = load(preset), load(run / "medical_teacher")
    parts = {}
    for name in (folders[0], folders[2], folders[4]):
        RunFolder(run / name).load_best(student)
        parts[name] = arrays(student.backbone.weights)
    first, third, fifth = parts.values()
    changed = {path for path in first if not np.array_equal(first[path], third[path])}
    layers = [layer for i in (0, 1) for layer in student.backbone.controller_layers(i)]
    own = {w.path for layer in layers for w in layer.weights}
    copied = {}
    for part in ("mask_decoder", "prompt_generator"):
        pairs = [getattr(model.backbone, part).weights for model in (student, teacher)]
        copied |= {w.path: keras.ops.convert_to_numpy(old) for w, old in zip(*pairs, strict=True)}
    assert own <= changed <= own | copied.keys()
    for path, value in copied.items():
        np.testing.assert_array_equal(third[path], value)
    # The last phase trained these too, and is what the preset holds.
    trained = {w.path for w in student.backbone.trainable_weights} & copied.keys()
    assert len(trained) > 30
    assert sum(not np.array_equal(third[path], fifth[path]) for path in trained) > 0.8 * len(
        trained
    )
    last = arrays(load(preset).backbone.weights)
    for value, expected in zip(last.values(), fifth.values(), strict=True):
        np.testing.assert_array_equal(value, expected)
    assert distill(config, report=said.append) == preset


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="as above")
def test_teachers_look_at_augmented_images_where_nothing_is_cached(config, tmp_path):
    config["phases"] = [{**config["phases"][3], "common_batch_size": 1}]
    said = []
    distill(config, report=said.append, verbose=0)
    header = (tmp_path / "run" / "1-both" / "curves.csv").read_text().split("\n")[0]
    assert {"common_embedding_cosine", "domain_embedding_cosine"} <= set(header.split(","))
    assert not (tmp_path / "run" / "medical_teacher").exists()  # It was given.


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="as above")
def test_appearance_of_both_kinds_of_images_and_data_sets_that_are_left_out(config, monkeypatch):
    made = []

    def dataset(*arguments, **options):
        made.append(options)
        raise Killed

    monkeypatch.setattr(distillation_run, "DistillationDataset", dataset)
    config |= {"appearance": {"gamma": 0.5}, "phases": [config["phases"][3]]}
    config["data"]["exclude_datasets"] = ["xrays"]
    with pytest.raises(Killed):
        distill(config, report=lambda _: None, verbose=0)
    (options,) = made
    for one in (*options["augment"].values(), options["common_augment"]):
        assert [type(transform).__name__ for transform in one.appearance] == ["Gamma"]
    assert {record.dataset for record in options["domain"]} == {"funduss"}


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="as above")
def test_targets_that_only_the_teacher_knows_are_learnt_interrupted_and_cached(
    config, tmp_path, tiny, monkeypatch
):
    targets = {"xray": ("lungs", "heart"), "fundus": ("vessels", "disc", "cup")}
    theirs = {"xray": ("lungs", "heart"), "fundus": ("vessels", "disc")}
    for name, own in (("student", targets), ("medical_teacher", theirs)):
        backbone = tiny.backbone(NAMES, encoder=tiny.convolution(), targets=own)
        converter = kem.models.ESPMedSAMImageConverter(image_size=(32, 32))
        preprocessor = kem.models.ESPMedSAMImageSegmenterPreprocessor(converter)
        segmenter = kem.models.ESPMedSAMImageSegmenter(backbone, preprocessor)
        tiny.randomize(segmenter).save_to_preset(str(tmp_path / name))
        config[name] = {"preset": str(tmp_path / name)}
    phase = {"epochs": 1, "steps": 2, "batch_size": 2, "optimizer": {"name": "adamw"}}
    phase["optimizer"]["weight_decay"] = 0.1
    config["phases"] = [
        {"phase": "teacher", "parts": "all", **phase},
        {"phase": "joint", **phase, "epochs": 2, "losses": [{}, {"student": "masks"}]},
    ]
    config["cache"] = {"folder": str(tmp_path / "cache"), "variants": ["identity", "hflip"]}
    said = []
    whole = distill({**config, "output": str(tmp_path / "whole")}, report=said.append, verbose=0)
    assert (
        "Teachers have masks of xray: lungs, heart; fundus: vessels, disc, and none of fundus: "
        "cup." in said
    )
    with monkeypatch.context() as patch, pytest.raises(Killed):
        killed_after(patch, 2)  # In the middle of the second phase.
        distill(config, report=said.append, verbose=0)
    preset = distill(config, report=said.append, verbose=0)
    header = (tmp_path / "run" / "2-joint" / "curves.csv").read_text().split("\n")[0].split(",")
    assert {"domain_masks_cross_entropy", "label_masks", "val_label_masks"} <= set(header)
    one, other, start = (load(path).backbone for path in (whole, preset, tmp_path / "student"))
    for a, b in zip(one.weights, other.weights, strict=True):
        np.testing.assert_array_equal(*map(keras.ops.convert_to_numpy, (a, b)), err_msg=a.path)
    began = [("model", "student"), ("teacher", "medical_teacher")]
    assert [origin[:2] for origin in read_origins(preset)] == began
    taught = read_origins(tmp_path / "run" / "medical_teacher")
    assert [origin[:2] for origin in taught] == [("model", "medical_teacher")]
    # Labels show the first targets; the others are taught, but for the cup, which is neither.
    for modality, moved in ((0, (True,)), (1, (True, False))):
        pairs = zip(
            start.mask_decoder.target_layers(modality),
            other.mask_decoder.target_layers(modality),
            moved,
            strict=True,
        )
        for old, new, moves in pairs:
            same = [
                np.array_equal(*pair)
                for pair in zip(old.get_weights(), new.get_weights(), strict=True)
            ]
            assert all(same) != moves


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="as above")
def test_a_teacher_is_trained_and_asked_in_a_higher_resolution(config, tmp_path, monkeypatch):
    phase = {"epochs": 1, "steps": 1, "batch_size": 2}
    config["phases"] = [
        {"phase": "teacher", "parts": "all", **phase},
        {"phase": "joint", **phase, "losses": [{}, {"student": "masks"}]},
    ]
    seen, call = [], Teacher.call
    monkeypatch.setattr(
        Teacher,
        "call",
        lambda own, images, *rest: (
            seen.append(tuple(images.shape[1:3])) or call(own, images, *rest)
        ),
    )
    config["teacher_image_size"] = 64
    student = build_segmenter(ModelSettings(**config["student"]), (32, 32))
    kem.models.ESPMedSAMImageSegmenter(
        student.backbone,
        student.preprocessor,
        probability_calibration={NAMES[0]: {"mask": {"temperature": 2.0}}},
    ).save_to_preset(tmp_path / "calibrated")
    config["student"] = {"preset": str(tmp_path / "calibrated")}
    with pytest.warns(InputWarning, match="removed: the calibration"):
        preset = distill(config, report=lambda _: None, verbose=0)
    assert load(preset).probability_calibration == {}
    assert set(seen) == {(64, 64)}
    sizes = [
        load(path).preprocessor.image_converter.image_size
        for path in (preset, tmp_path / "run" / "medical_teacher")
    ]
    assert sizes == [(32, 32), (64, 64)]


def test_teachers_from_a_preset_a_file_and_what_is_neither(tmp_path):
    image = keras.Input((32, 32, 3))
    model = keras.Model(image, keras.layers.Conv2D(4, 16, strides=16)(image))
    model.save(tmp_path / "sam.keras")
    x = np.random.default_rng(0).normal(size=(1, 32, 32, 3)).astype("float32")
    teacher = named_teacher(TeacherSettings(name="sam", file=tmp_path / "sam.keras"))
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(teacher(x)["embedding"]),
        keras.ops.convert_to_numpy(model(x)),
        atol=1e-6,
    )
    encoder = kem.models.ViTMedBackbone(
        hidden_dim=8, depth=1, num_heads=1, global_indices=(0,), neck_dim=8, image_shape=(32, 32, 3)
    )
    encoder.save_to_preset(tmp_path / "vit")
    teacher = named_teacher(TeacherSettings(name="vit", preset=str(tmp_path / "vit")), ("block_0",))
    assert teacher.name == "vit" and tuple(teacher(x)["block_0"].shape) == (1, 2, 2, 8)
    (tmp_path / "bad.keras").write_bytes(b"no model")
    with pytest.raises(InputError, match="The teacher sam cannot be loaded from"):
        named_teacher(TeacherSettings(name="sam", file=tmp_path / "bad.keras"))
    with pytest.raises(InputError, match="Unknown preset 'nothing'"):
        named_teacher(TeacherSettings(name="sam", preset="nothing"))


def test_a_second_program_is_refused_before_anything_is_read(config, tmp_path):
    said = []
    with only_program(tmp_path / "run", RUN_LOCK):
        with pytest.raises(InputError, match="Another program is training in"):
            distill(config, report=said.append, verbose=0)
    assert said == [] and not (tmp_path / "run").exists()


def test_a_size_is_needed(config):
    config = {**config, "phases": config["phases"][:1], "image_size": None}
    with pytest.raises(InputError, match="no image_size"):
        distill(config, report=lambda _: None)
