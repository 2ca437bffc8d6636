import numpy as np
import pytest

from keras_espmedsam.imaging.content import is_blank

RNG = np.random.default_rng(0)
SIZE = (200, 300, 1)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros(SIZE),
        np.ones(SIZE),
        np.broadcast_to(np.array([0.7, 0.5, 0.3]), (200, 300, 3)),
        RNG.integers(0, 4, SIZE) / 255,
        np.clip(0.5 + RNG.normal(0, 4 / 255, SIZE), 0, 1),
        np.zeros((1, 1, 3)),
        np.full((3, 500, 1), 0.2),
    ],
    ids=["black", "white", "one colour", "dark noise", "bright noise", "one pixel", "narrow"],
)
def test_blank(image):
    assert is_blank(image)


def _with_square(value, side):
    image = np.full((256, 256, 3), 0.1)
    image[100 : 100 + side, 40 : 40 + side] = value
    return image


@pytest.mark.parametrize(
    "image",
    [
        _with_square(0.2, 24),
        _with_square([0.1, 0.1, 0.3], 24),
        _with_square(1.0, 4),
        np.linspace(0, 0.1, 256)[None, :, None] * np.ones((256, 1, 1)),
        np.eye(2)[..., None],
    ],
    ids=["dim", "in one channel", "small and bright", "a gradient", "four pixels"],
)
def test_not_blank(image):
    assert not is_blank(image)


def test_dim_micrographs_show_something(data_dir):
    from PIL import Image

    folder = data_dir / "microscopy" / "dsb2018" / "images"
    dimmest = ("f6cb37ebf29c2252.jpg", "14cc1424c5980827.jpg", "0d2bf916cc8de90d.jpg")
    for name in dimmest:
        image = np.asarray(Image.open(folder / name).convert("RGB")) / 255
        assert np.ptp(image) < 0.2
        assert not is_blank(image)
