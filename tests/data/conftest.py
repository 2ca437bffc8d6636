"""What the tests of readers share."""

import pytest
from PIL import Image


@pytest.fixture
def save(tmp_path):
    def save_image(image, name="image.png", **options):
        path = tmp_path / name
        if not isinstance(image, Image.Image):
            image = Image.fromarray(image)
        image.save(path, **options)
        return path

    return save_image
