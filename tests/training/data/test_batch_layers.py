import keras
import numpy as np
import pytest
from PIL import Image

from keras_espmedsam.data import Record
from keras_espmedsam.errors import InputError
from keras_espmedsam.training import SegmentationDataset
from keras_espmedsam.training.data.batch_layers import BatchLayers

MASKS = np.zeros((3, 32, 32, 1), "uint8")
# Off the middle and wider than high: it shows every flip and turn.
MASKS[:, 9:20, 10:26] = 1
# White on grey: what is moved in from outside is black, so that one threshold finds the mark.
IMAGES = np.where(MASKS, 255, 110).repeat(3, axis=-1).astype("uint8")
LAYERS = keras.layers
FILL = dict(fill_mode="constant")
GEOMETRIC = {
    "flip": lambda: LAYERS.RandomFlip(),
    "translation": lambda: LAYERS.RandomTranslation(0.2, 0.2, **FILL),
    "zoom": lambda: LAYERS.RandomZoom((-0.3, 0.3), **FILL),
    "shear": lambda: LAYERS.RandomShear(0.3, 0.3, **FILL),
    "elastic": lambda: LAYERS.RandomElasticTransform((1.0, 1.0), (0.8, 1.0), **FILL),
    "crop": lambda: LAYERS.RandomCrop(24, 28),
    "rotation": lambda: LAYERS.RandomRotation(0.1, **FILL),
    "perspective": lambda: LAYERS.RandomPerspective(1.0, 0.5),
}
# JAX compiles every operation of each, a quarter of a minute for some.
SLOW = set(GEOMETRIC) - {"flip", "crop", "elastic"} if keras.backend.backend() == "jax" else ()


def _dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in GEOMETRIC]
)
def test_image_and_mask_move_together(name):
    layers, moved = BatchLayers([GEOMETRIC[name]()]), []
    results = [layers(IMAGES, MASKS, entropy) for entropy in ([0, 3], [1, 3])]
    for images, masks in results:
        assert (images.dtype, masks.dtype) == (np.uint8, np.uint8)
        assert images.shape[:3] == masks.shape[:3]
        assert _dice(images.mean(-1) > 182, masks[..., 0] > 0) > 0.98
        moved.append(masks.shape != MASKS.shape or _dice(masks > 0, MASKS > 0) < 0.995)
    assert any(moved)
    # What another layer drew, and what was drawn before, does not matter.
    again = BatchLayers([GEOMETRIC[name]()])(IMAGES, MASKS, [1, 3])
    for one, other in zip(again, results[1], strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow_on("jax")
@pytest.mark.parametrize("name", GEOMETRIC)
def test_several_masks_move_as_each_would_alone(name):
    masks = [MASKS, MASKS[:, ::-1]]
    moved = BatchLayers([GEOMETRIC[name]()])(IMAGES, np.concatenate(masks, axis=-1), [1, 3])[1]
    for channel, mask in enumerate(masks):
        alone = BatchLayers([GEOMETRIC[name]()])(IMAGES, mask, [1, 3])[1]
        np.testing.assert_array_equal(moved[..., channel], alone[..., 0])


def test_colours_leave_the_mask_alone_and_layers_follow_each_other():
    layers = [LAYERS.RandomBrightness(0.3), LAYERS.RandomFlip("horizontal")]
    images, masks = BatchLayers(layers)(IMAGES, MASKS, [1])
    flipped = (masks != MASKS).any(axis=(1, 2, 3))
    np.testing.assert_array_equal(masks[flipped], MASKS[flipped][:, :, ::-1])
    assert (images != np.where(flipped[:, None, None, None], IMAGES[:, :, ::-1], IMAGES)).any()
    only, none = BatchLayers(layers)(IMAGES, None, [1])
    assert none is None
    np.testing.assert_array_equal(only, images)
    assert (BatchLayers(layers)(IMAGES, MASKS, [2])[0] != images).any()


def test_a_data_set_draws_them_by_epoch_and_number(tmp_path):
    Image.fromarray(IMAGES[0]).save(tmp_path / "a.png")
    Image.fromarray(MASKS[0, ..., 0] * 255).save(tmp_path / "m.png")
    record = Record("train", "xray", "a", tmp_path / "a.png", tmp_path / "m.png")

    def batch(workers, epoch, index, **options):
        options = dict(image_size=(32, 32), batch_size=3, steps=4, seed=1, **options)
        flip = [LAYERS.RandomFlip("horizontal")]
        dataset = SegmentationDataset([record], ("xray",), layers=flip, workers=workers, **options)
        dataset.epoch = epoch
        x, masks = dataset[index]
        assert ((x["images"][..., :1] == 255) == masks).all()
        return masks

    everything = [batch(1, epoch, index) for epoch in range(3) for index in range(4)]
    assert len({masks.tobytes() for masks in everything}) > 3
    np.testing.assert_array_equal(batch(2, 1, 2), everything[6])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LAYERS.MixUp(), "the layer MixUp for augmentation; expected one of Keras' image"),
        (lambda: LAYERS.Rescaling(1 / 255), "the layer Rescaling for augmentation; expected"),
        (lambda: LAYERS.RandomFlip(dtype="mixed_bfloat16"), "RandomFlip of bfloat16, which rounds"),
        (lambda: LAYERS.RandomHue(0.1, value_range=(0, 1)), r"value_range=\(0, 1\); expected"),
    ],
)
def test_layers_that_do_not_serve(make, message):
    with pytest.raises(InputError, match=message):
        BatchLayers([make()])
