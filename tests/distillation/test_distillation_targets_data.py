"""Batches, caches and copied decoders of several targets."""

import dataclasses

import keras
import numpy as np
import pytest
from PIL import Image

import keras_espmedsam as kem
from keras_espmedsam.data import Record, Targets
from keras_espmedsam.data.record import TargetMask
from keras_espmedsam.distillation import (
    DecoupledDistiller,
    DistillationDataset,
    MaskLoss,
    Teacher,
    TeacherCache,
    copy_decoder,
)
from keras_espmedsam.distillation.labelled_part import LabelledPart
from keras_espmedsam.distillation.variants import vary
from keras_espmedsam.errors import InputError

MODALITIES = ("xray", "fundus")
TARGETS = {"xray": ("lungs", "heart", "clavicles"), "fundus": ("disc", "cup")}


@pytest.fixture
def records(tmp_path):
    """Images that label the heart, lungs and heart, and disc and cup."""
    rng = np.random.default_rng(0)

    def write(name, modality, **masks):
        Image.fromarray(rng.integers(0, 256, (64, 64, 3), "uint8")).save(tmp_path / f"{name}.png")
        targets = []
        for target, columns in masks.items():
            mask = np.zeros((64, 64), "uint8")
            mask[:, :columns] = 255
            Image.fromarray(mask).save(tmp_path / f"{name}_{target}.png")
            targets.append(TargetMask(target, tmp_path / f"{name}_{target}.png"))
        image = tmp_path / f"{name}.png"
        return Record("train", modality, "set", image, targets=tuple(targets))

    return [
        write("a", "xray", heart=20),
        write("b", "xray", lungs=40, heart=10),
        write("c", "fundus", disc=25, cup=30),
    ]


@pytest.fixture
def wide():
    return kem.models.ESPMedSAMImageConverter(image_size=(64, 64))


def make_segmenter(tiny, seed=1, targets=TARGETS, modalities=MODALITIES, side=64, **options):
    backbone = tiny.backbone(
        modalities, encoder=tiny.convolution(side=side), targets=targets, **options
    )
    return tiny.randomize(kem.models.ESPMedSAMImageSegmenter(backbone), seed)


def test_masks_are_unknown_where_a_record_labels_nothing(records, wide):
    options = dict(domain=records, modalities=MODALITIES, batch_size=3, labels=True)
    dataset = DistillationDataset(wide, targets=Targets(TARGETS), **options)
    x, y = dataset[0]
    assert x["domain"]["modalities"].tolist() == [0, 0, 1]
    assert y["masks"].shape == (3, 64, 64, 3) and y["masks"].dtype == np.float32
    values = [[(-1,), (0, 1), (-1,)], [(0, 1), (0, 1), (-1,)], [(0, 1), (0, 1), (-1,)]]
    for row, expected in zip(y["masks"], values, strict=True):
        assert [tuple(np.unique(row[..., i])) for i in range(3)] == expected
    np.testing.assert_array_equal(y["masks"][1, ..., 0].sum(axis=1), np.full(64, 40))
    # A patch of any target is known where all of the image's targets are labelled.
    assert y["patches"][..., 0].tolist() == [[[-1, -1]] * 2, [[-1, -1]] * 2, [[1, 0]] * 2]
    each = DistillationDataset(
        wide, targets=Targets(TARGETS), self_prompt_targets="each", **options
    )
    patches = each[0][1]["patches"]
    assert patches.shape == (3, 2, 2, 3)
    assert patches[1, 0].tolist() == [[1, 1, -1], [1, 0, -1]]
    one, truth = LabelledPart(dataset)[0]
    assert set(one) == {"images", "modalities"} and truth["masks"].shape == (3, 64, 64, 3)


def test_targets_are_drawn_alike_also_where_labels_are_not_asked_for(records, wide):
    for labels in (True, False):
        dataset = DistillationDataset(
            wide, domain=records, modalities=MODALITIES, batch_size=100, steps=3,
            balance="target", labels=labels, targets=Targets(TARGETS),
            weights={"xray/lungs": 3},
        )  # fmt: skip
        drawn = np.concatenate([dataset[i][0]["domain"]["modalities"] for i in range(3)])
        assert 0.58 < (drawn == 0).mean() < 0.76
    bare = [dataclasses.replace(records[0], mask=None, targets=())]
    with pytest.raises(InputError, match="balance=target and 1 of 1 records"):
        DistillationDataset(wide, domain=bare, modalities=MODALITIES, steps=1, balance="target")


@pytest.mark.slow_on("tensorflow", "jax")
def test_masks_are_kept_by_channel_and_come_in_the_images_variant(
    records, wide, tiny, tmp_path, monkeypatch
):
    segmenter = make_segmenter(tiny)
    teacher = Teacher(segmenter, features=("masks",), name="medical")

    def cache(teacher=teacher, modalities=MODALITIES):
        return TeacherCache(
            tmp_path / "cache", teacher, records, wide, ("identity", "hflip"), modalities
        )

    first = cache()
    assert first.build(announce=None) == 6
    masks = first.targets(0, "hflip")["masks"]
    assert masks.shape == (64, 64, 3) and masks.dtype == np.float16
    assert np.isneginf(first.targets(2)["masks"][..., 2]).all()  # Fundus has two targets.
    image = np.asarray(Image.open(records[0].image))
    image = wide.convert_batch(vary(image, "hflip")[None])
    expected = keras.Model.predict_on_batch(
        segmenter, {"images": image, "modalities": np.array([0], "int32")}
    )["masks"][0]
    np.testing.assert_allclose(masks, expected, rtol=2e-3, atol=2e-3)
    # The batch holds them for the images that it holds.
    dataset = DistillationDataset(
        wide, domain=records, modalities=MODALITIES, batch_size=3, labels=True,
        targets=Targets(TARGETS), domain_cache=first,
    )  # fmt: skip
    x, y = dataset[0]
    found = x["domain"]["targets"]["domain"]["masks"]
    for i, (given, labels) in enumerate(zip(found, y["masks"], strict=True)):
        names = [n for n in ("identity", "hflip") if labels[0, 0 if n == "identity" else -1, 1]]
        np.testing.assert_array_equal(given, first.targets(i, names[0])["masks"])
    # Cached, the losses are those of the teacher itself.
    distiller = DecoupledDistiller(
        make_segmenter(tiny, 2), domain_teachers=teacher, phase="joint", losses=MaskLoss()
    )
    losses = []
    for part in (x, {"domain": {k: v for k, v in x["domain"].items() if k != "targets"}}):
        loss = distiller.stream_loss("domain", part, y, distiller.teacher_targets(part), False)
        losses.append(float(keras.ops.convert_to_numpy(loss)))
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    # What is complete is not computed again; in another order of modalities it is the same.
    assert cache().complete and cache(modalities=MODALITIES[::-1]).complete
    # Other names, other targets: other entries.
    renamed = make_segmenter(tiny, targets={**TARGETS, "fundus": ("rim", "cup")})
    assert not cache(Teacher(renamed, features=("masks",))).complete
    # Of the embedding they are one: it has no targets.
    plain = cache(Teacher(segmenter))
    plain.build(announce=None)
    assert cache(Teacher(renamed)).complete


@pytest.mark.slow_on("tensorflow", "jax")
def test_caches_of_teachers_with_other_numbers_of_targets_share_a_batch(
    records, wide, tiny, tmp_path
):
    caches = {}
    for i, name in enumerate(MODALITIES):
        segmenter = make_segmenter(tiny, i, {name: TARGETS[name]}, (name,))
        own = [record for record in records if record.modality == name]
        teacher = Teacher(segmenter, features=("masks",), name=name)
        caches[name] = TeacherCache(tmp_path / "cache", teacher, own, wide, modalities=MODALITIES)
        caches[name].build(announce=None)
    dataset = DistillationDataset(
        wide, domain=records, modalities=MODALITIES, batch_size=3, domain_cache=caches
    )
    masks = dataset[0][0]["domain"]["targets"]["domain"]["masks"]
    assert masks.shape == (3, 64, 64, 3)
    np.testing.assert_array_equal(masks[2, ..., :2], caches["fundus"].targets(0)["masks"])
    assert np.isneginf(masks[2, ..., 2]).all() and np.isfinite(masks[:2]).all()


@pytest.mark.slow_on("jax")
def test_a_decoder_is_copied_target_by_target(tiny):
    teacher = make_segmenter(
        tiny, 1, {"xray": ("lungs", "ribs", "clavicles"), "fundus": ("mask",)}, side=32,
        target_adapters={"xray": {"clavicles": 2}},
    )  # fmt: skip
    adapters = {"xray": {"clavicles": 2, "heart": 3}}
    student = make_segmenter(tiny, 2, side=32, target_adapters=adapters)
    own = student.backbone.mask_decoder.target_layers(0) + (
        student.backbone.mask_decoder.target_layers(1)
    )
    heart, clavicles, cup = own
    kept = tiny.values([*heart.weights, *cup.weights])
    copy_decoder(teacher, student)
    pairs = [
        (teacher.backbone.mask_decoder.target_layers(0)[1], clavicles),
        (teacher.backbone.prompt_generator, student.backbone.prompt_generator),
        (teacher.backbone.mask_decoder.transformer, student.backbone.mask_decoder.transformer),
    ]
    for old, new in pairs:
        for a, b in zip(tiny.values(old.weights), tiny.values(new.weights), strict=True):
            np.testing.assert_array_equal(a, b)
    for a, b in zip(kept, tiny.values([*heart.weights, *cup.weights]), strict=True):
        np.testing.assert_array_equal(a, b)
    # What both have is decoded alike, from the same embeddings.
    embeddings = np.random.default_rng(0).normal(size=(2, 2, 2, 8)).astype("float32")
    masks = [
        keras.ops.convert_to_numpy(
            model.backbone.decode(embeddings, np.array([0, 1], "int32"))["masks"]
        )
        for model in (teacher, student)
    ]
    np.testing.assert_allclose(masks[1][..., [0, 2]][:1], masks[0][..., [0, 2]][:1], atol=1e-5)
    np.testing.assert_allclose(masks[1][1, ..., 0], masks[0][1, ..., 0], atol=1e-5)


@pytest.mark.parametrize(
    ("targets", "options", "message"),
    [
        ({"xray": ("heart", "lungs")}, {}, "first target of xray is heart in the teacher and lun"),
        (
            {"xray": ("lungs", "clavicles")},
            {"target_adapters": {"xray": {"clavicles": 2}}},
            "clavicles of xray does not fit .* adapters of one width .*, not 2 and 0",
        ),
        (
            {"xray": ("lungs", "clavicles", "heart")},
            {"self_prompt_targets": "each"},
            "self-prompts for each of lungs, clavicles, heart of xray|The prompt_generator of",
        ),
    ],
)
def test_decoders_of_targets_that_do_not_fit_are_refused(tiny, targets, options, message):
    teacher = make_segmenter(tiny, 1, {**targets, "fundus": ("disc", "cup")}, side=32, **options)
    student = make_segmenter(tiny, 2, side=32)
    before = tiny.values(student.weights)
    with pytest.raises(InputError, match=message):
        copy_decoder(teacher, student)
    for a, b in zip(before, tiny.values(student.weights), strict=True):
        np.testing.assert_array_equal(a, b)
