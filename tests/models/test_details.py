"""A segmenter whose decoder paints at the image's own resolution."""

import numpy as np
import pytest

import keras_espmedsam as kem
from keras_espmedsam.distillation import copy_decoder

RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(3, 64, 64, 3)).astype("float32")
MODALITIES = np.array([0, 1, 2], "int32")
DIMS = (4, 5, 6)


@pytest.fixture(scope="module")
def make(build):
    encoder = dict(
        hidden_dims=(8, 16), depths=(1, 1), num_heads=(2,), window_sizes=(4,), strides=(2,)
    )

    def make(seed=1):
        backbone = build.backbone(build.encoder(**encoder), transformer_depth=1, detail_dims=DIMS)
        return build.randomize(build.segmenter(backbone), seed)

    return make


@pytest.fixture(scope="module")
def segmenter(make):
    return make()


def masks(segmenter, build, modalities=MODALITIES, images=IMAGES):
    return build.run(segmenter, {"images": images, "modalities": modalities})["masks"]


@pytest.mark.slow_on("jax")
def test_encode_and_decode_apart_give_the_whole(segmenter, build):
    encode, decode = (build.compiled(part) for part in (segmenter.encode, segmenter.decode))
    embeddings = encode(IMAGES, MODALITIES)
    shapes = [tuple(one.shape) for one in embeddings["details"]]
    assert shapes == [(3, 64, 64, 4), (3, 32, 32, 5), (3, 16, 16, 6)]
    apart = build.array(decode(embeddings, MODALITIES)["masks"])
    np.testing.assert_allclose(apart, masks(segmenter, build), atol=1e-4, rtol=1e-4)


def test_a_pixel_of_the_finest_map_moves_the_mask_there_alone(segmenter, build):
    encode, decode = (build.compiled(part) for part in (segmenter.encode, segmenter.decode))
    embeddings = encode(IMAGES, MODALITIES)
    finest = np.array(build.array(embeddings["details"][0]))
    finest[:, 20, 30] += 5
    moved = decode({**embeddings, "details": [finest, *embeddings["details"][1:]]}, MODALITIES)
    before, after = (build.array(x["masks"]) for x in (decode(embeddings, MODALITIES), moved))
    changed = np.abs(before - after).max(axis=(0, 3)) > 1e-5
    assert np.argwhere(changed).min(axis=0).tolist() == [19, 29]
    assert np.argwhere(changed).max(axis=0).tolist() == [21, 31]


def test_a_shift_by_the_coarsest_stride_shifts_the_details(segmenter, build):
    branch = build.compiled(lambda x: segmenter.backbone.detail_branch(x))
    maps, moved = branch(IMAGES), branch(np.roll(IMAGES, 4, axis=1))
    for stride, one, other in zip((1, 2, 4), maps, moved, strict=True):
        one, other = np.roll(build.array(one), 4 // stride, axis=1), build.array(other)
        inner = slice(16 // stride, -16 // stride)
        np.testing.assert_allclose(one[:, inner], other[:, inner], atol=1e-4, rtol=1e-4)


def test_a_turned_image_gives_what_turned_kernels_give_of_the_upright_one(segmenter, build):
    # The padding is the same on all sides.
    conv = segmenter.backbone.detail_branch.convs[0]
    kernel = build.array(conv.kernel)

    def finest(images):
        # Compiled anew, since a compiled function keeps the kernel that it was compiled with.
        return build.array(build.compiled(lambda x: segmenter.backbone.detail_branch(x)[0])(images))

    upright = finest(IMAGES)
    conv.kernel.assign(kernel[::-1, ::-1])
    turned = finest(IMAGES[:, ::-1, ::-1])
    conv.kernel.assign(kernel)
    np.testing.assert_allclose(turned[:, ::-1, ::-1], upright, atol=1e-5, rtol=1e-5)


@pytest.mark.slow_on("jax")
def test_one_modality_alone_and_one_more_leave_the_masks_as_they_were(segmenter, build):
    expected = masks(segmenter, build)
    single = build.run(segmenter.specialize("lung"), {"images": IMAGES[1:2]})["masks"]
    np.testing.assert_allclose(single, expected[1:2], atol=1e-4, rtol=1e-4)
    extended = segmenter.add_modality("brain", init_from="lung")
    np.testing.assert_allclose(masks(extended, build), expected, atol=1e-4, rtol=1e-4)
    assert not extended.backbone.detail_branch.trainable_variables


def test_details_are_part_of_the_decoder_that_is_copied_and_trained(make, segmenter, build):
    student = make(seed=2)
    copy_decoder(segmenter, student)
    for one, other in zip(
        student.backbone.detail_branch.weights,
        segmenter.backbone.detail_branch.weights,
        strict=True,
    ):
        np.testing.assert_array_equal(build.array(one), build.array(other))
    plain = build.backbone()
    with pytest.raises(kem.errors.InputError, match="does not fit"):
        copy_decoder(segmenter, plain)
    kem.training.select_trainable(student, ["decoder"])
    assert len(student.backbone.detail_branch.trainable_variables) == 2 * len(DIMS)
    kem.training.select_trainable(student, ["queries"])
    assert not student.backbone.detail_branch.trainable_variables


def test_a_preset_brings_them_back(segmenter, build, tmp_path):
    segmenter.save_to_preset(tmp_path / "preset")
    loaded = kem.models.ESPMedSAMImageSegmenter.from_preset(str(tmp_path / "preset"))
    assert loaded.backbone.detail_dims == DIMS
    np.testing.assert_allclose(masks(loaded, build), masks(segmenter, build), atol=1e-5)


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(upscaling=8), "details where it is larger"),
        (dict(upscaling=6, detail_dims=(4,)), "a power of two from 4 on"),
        (dict(detail_dims=(4, 4, 4)), "at most one map for each of its 2 steps"),
    ],
)
def test_an_upscaling_that_does_not_fit_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        kem.layers.QueryDecoupledModalityDecoder(2, (0, 1), **options)
