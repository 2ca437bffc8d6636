import keras
import numpy as np
import pytest

import keras_espmedsam as kem
from tests.models.image_encoder_contract import ImageEncoderContract

ViTMed = kem.models.ViTMedBackbone
Segmenter = kem.models.ESPMedSAMImageSegmenter
RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(2, 64, 96, 3)).astype("float32")


def make_encoder(**kwargs):
    config = dict(
        hidden_dim=16,
        depth=2,
        num_heads=2,
        mlp_ratio=2,
        window_size=3,
        global_indices=(1,),
        neck_dim=16,
        num_tokens=3,
        image_shape=(64, 96, 3),
    )
    return ViTMed(**{**config, **kwargs})


@pytest.fixture(scope="module")
def encoder(build):
    return build.randomize(make_encoder())


class TestViTMed(ImageEncoderContract):
    sizes = ((64, 96),)

    def make(self, **kwargs):
        return make_encoder(**kwargs)


def test_without_controllers_it_is_the_plain_encoder(build, encoder):
    plain = make_encoder(num_tokens=0, adapter=False)
    added = {id(w) for layer in encoder.adapter_layers() for w in layer.weights}
    pretrained = [w for w in encoder.weights if id(w) not in added]
    for old, new in zip(pretrained, plain.weights, strict=True):
        new.assign(build.array(old))
    alone = build.compiled(lambda x: encoder.features(x, controllers=False)["embedding"])
    expected = build.run(plain, IMAGES)
    np.testing.assert_allclose(build.array(alone(IMAGES)), expected, atol=1e-5)
    assert np.abs(build.run(encoder, IMAGES) - expected).max() > 0.1


def test_config_at_another_size(build, encoder):
    """The tables keep their weights and are resized; windows are of the same size at any."""
    config = {**encoder.get_config(), "image_shape": (128, 192, 3)}
    larger = ViTMed.from_config(config)
    larger.set_weights(encoder.get_weights())
    assert larger.position_grid == (4, 6)
    table, rows = larger.position_embedding, larger.blocks[1].attention.positions
    assert table.resizing[0] == (4, 8) and rows.resizing[1] == (11, 23)
    assert larger.blocks[0].attention.positions.resizing == [None, None]
    assert larger.output.shape == (None, 8, 12, 16)


def test_smaller_stride_and_no_neck():
    assert make_encoder(output_stride=8).output.shape == (None, 8, 12, 16)
    assert make_encoder(neck_dim=None, patch_size=8).output.shape == (None, 8, 12, 16)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"image_shape": (None, None, 3)}, "multiples of the patch size"),
        ({"image_shape": (64, 90, 3)}, "patch_size=16"),
        ({"global_indices": (2,)}, "indices from 0 to 1"),
        ({"num_heads": 3}, "num_heads=3"),
    ],
)
def test_contradicting_arguments_are_named(change, words):
    with pytest.raises(ValueError, match=words):
        make_encoder(**change)


@pytest.fixture(scope="module")
def teacher(build):
    """The medical teacher: ViT-Med with self-prompts and decoder."""
    backbone = build.backbone(make_encoder(image_shape=(64, 64, 3)), transformer_depth=1)
    return build.randomize(build.segmenter(backbone))


def test_teacher_as_preset_of_another_size(build, teacher, tmp_path):
    teacher.save_to_preset(tmp_path)
    backbone = kem.models.ESPMedSAMBackbone.from_preset(str(tmp_path), image_shape=(96, 64, 3))
    assert backbone.output["image_embeddings"].shape == (None, 6, 4, 16)
    for old, new in zip(teacher.backbone.weights, backbone.weights, strict=True):
        np.testing.assert_array_equal(build.array(old), build.array(new))


def test_phase_2_trains_the_additions_and_not_the_vit(build, teacher):
    model = Segmenter.from_config(teacher.get_config())
    model.set_weights(teacher.get_weights())
    encoder = model.backbone.image_encoder
    for layer in encoder.pretrained_layers():
        layer.trainable = False
    # TensorFlow takes most of a minute to trace what it runs once.
    eager = keras.backend.backend() == "tensorflow"
    model.compile(keras.optimizers.AdamW(1e-3, weight_decay=0.1), run_eagerly=eager)
    before = {w.path: build.array(w) for w in model.weights}
    x = {
        "images": RNG.integers(0, 256, (2, 40, 56, 3), dtype="uint8"),
        "modalities": np.array([0, 2], "int32"),
    }
    masks = (RNG.random((2, 40, 56, 1)) > 0.7).astype("uint8")
    model.fit(x, masks, batch_size=2, verbose=0)
    frozen = {w.path for layer in encoder.pretrained_layers() for w in layer.weights}
    added = {w.path for layer in encoder.adapter_layers() for w in layer.weights}
    assert frozen | added == {w.path for w in encoder.weights} and not frozen & added
    for weight in model.weights:
        same = np.array_equal(before[weight.path], build.array(weight))
        # The Fourier matrix never trains, and a modality without samples does not either.
        if weight.path in frozen:
            assert same, weight.path
        elif weight.path in added or weight.path.endswith("queries"):
            assert not same, weight.path
