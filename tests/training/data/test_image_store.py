import numpy as np
import pytest
from PIL import Image

from keras_espmedsam.data import Record, TargetMask, Targets
from keras_espmedsam.imaging.instance_maps import instance_map
from keras_espmedsam.training.data.image_store import ImageStore

NUMBERS = np.zeros((24, 40), "uint16")
NUMBERS[3:12, 4:15], NUMBERS[3:12, 15:30], NUMBERS[14:24, 20:40] = 1, 700, 9
TARGETS = Targets(
    {"microscopy": ("glands", "nuclei"), "xray": ("lungs",)},
    instances={"microscopy": {"nuclei": "boundary", "glands": "core"}},
)


@pytest.fixture
def record(tmp_path):
    Image.new("RGB", (40, 24), "red").save(tmp_path / "a.png")
    Image.fromarray(NUMBERS).save(tmp_path / "n.png")
    Image.fromarray(np.where(NUMBERS == 9, 255, 0).astype("uint8")).save(tmp_path / "g.png")
    return Record(
        "train",
        "microscopy",
        "set",
        tmp_path / "a.png",
        targets=(
            TargetMask("nuclei", tmp_path / "n.png", instances=tmp_path / "n.png"),
            TargetMask("glands", tmp_path / "g.png"),
        ),
    )


def _masks(record, size, mode="pad", **options):
    store = ImageStore([record], size, mode, targets=TARGETS, **options)
    assert store.labelled.tolist() == [[True, True, False, True]]
    ((image, masks),) = store[[0]]
    assert masks.shape == (*image.shape[:2], 4) and masks.dtype == bool
    assert not masks[..., 2].any()  # Cores of glands, which nobody has numbered.
    return masks


@pytest.mark.parametrize("cache", [True, False])
@pytest.mark.parametrize("size", [None, (24, 40), (48, 80), (64, 80)], ids=str)
def test_maps_of_numbered_objects(record, size, cache):
    masks = _masks(record, size, cache=cache)
    times = 1 if size is None or size[1] == 40 else 2
    height, width = 24 * times, 40 * times
    numbers = NUMBERS.repeat(times, axis=0).repeat(times, axis=1)
    np.testing.assert_array_equal(masks[:height, :width, 3], instance_map(numbers, "boundary"))
    np.testing.assert_array_equal(masks[:height, :width, 1], numbers > 0)
    np.testing.assert_array_equal(masks[:height, :width, 0], numbers == 9)
    # What is below the image is background, and the object that it cuts has no edge there.
    assert not masks[height:].any()
    assert not masks[height - 1, width - 1, 3]


def test_numbers_are_taken_from_the_nearest_pixel(record):
    """Never averaged, which would make objects of other numbers between two."""
    masks = _masks(record, (12, 20), "stretch")
    numbers = NUMBERS[1::2, 1::2]
    np.testing.assert_array_equal(masks[..., 3], instance_map(numbers, "boundary"))
    masks = _masks(record, (8, 40), "stretch")
    np.testing.assert_array_equal(masks[..., 3], instance_map(NUMBERS[1::3], "boundary"))


def test_masks_in_memory_take_a_bit_for_each_channel(record):
    store = ImageStore([record], (64, 64), "stretch", targets=TARGETS)
    ((image, masks),) = store._kept
    assert (image.nbytes, masks.nbytes) == (64 * 64 * 3, 64 * 64)
    many = Targets({"microscopy": ("glands", "nuclei", *(f"t{i}" for i in range(8)))})
    ((_, masks),) = ImageStore([record], (64, 64), "stretch", targets=many)._kept
    assert masks.nbytes == 2 * 64 * 64


def test_images_of_instances_are_read_only_for_a_map(record, tmp_path):
    """A target told apart by its components needs none."""
    plain = Targets(
        {"microscopy": ("glands", "nuclei")}, instances={"microscopy": {"nuclei": "components"}}
    )
    one = Record(
        *("train", "microscopy", "set", tmp_path / "a.png"),
        targets=(TargetMask("glands", tmp_path / "g.png", instances=tmp_path / "half.tif"),),
    )
    Image.fromarray(np.full((24, 40), 0.5, "float32")).save(tmp_path / "half.tif")
    ((_, masks),) = ImageStore([one], None, "pad", targets=plain)[[0]]
    np.testing.assert_array_equal(masks[..., 0], NUMBERS == 9)
    store = ImageStore([record, one], None, "pad", targets=TARGETS)
    assert "half.tif holds values that are not whole numbers" in store.left_out[0][1]
