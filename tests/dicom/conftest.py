"""Images as archives hold them; their helpers skip a module where the extra is missing."""

import pytest


@pytest.fixture
def image(tmp_path):
    """`image(kind, **elements)`: the path of a file."""
    from tests.dicom.images import dicom_image

    return lambda kind, **elements: dicom_image(tmp_path / "image.dcm", kind, **elements)
