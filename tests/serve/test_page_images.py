"""What the page asks of the server: an image to look at, its masks and probabilities."""

import email
import io
import json
import zlib

import numpy as np
import pytest
from PIL import Image

from keras_espmedsam.serve.page_images import IN_MASK, STEPS

nibabel = pytest.importorskip("nibabel")


def parts(answer):
    """The parts of a form: dict of name to bytes; `info` as a dict."""
    assert answer.status_code == 200, answer.content
    head = f"Content-Type: {answer.headers['content-type']}\r\n\r\n".encode()
    message = email.message_from_bytes(head + answer.content)
    found = {
        one.get_param("name", header="content-disposition"): one.get_payload(decode=True)
        for one in message.get_payload()
    }
    return {**found, "info": json.loads(found["info"])}


def maps_of(found):
    shape = len(found["info"]["targets"]), found["info"]["height"], found["info"]["width"]
    return np.frombuffer(zlib.decompress(found["maps"]), "uint8").reshape(shape)


@pytest.fixture
def volume(tmp_path):
    """A NIfTI file of three slices of 4 x 5 pixels, each brighter than the one before."""
    values = np.zeros((5, 4, 3), "int16")
    values[:3] = [0, 400, 800]
    values[3:] = 1000
    path = tmp_path / "scan.nii.gz"
    nibabel.save(nibabel.Nifti1Image(values, np.diag([2.0, 3.0, 4.0, 1.0])), path)
    return path.read_bytes()


def test_an_image_is_shown_upright_in_8_bits(client, image_bytes):
    exif = Image.Exif()
    exif[0x0112] = 6
    content = image_bytes([[0, 0, 200]] * 2, "PNG", exif=exif)
    found = parts(client().post("/page/image", content=content))
    assert found["info"] == {
        "number": 1,
        "count": 1,
        "word": "frame",
        "one_mask_file": False,
        "width": 2,
        "height": 3,
        "orientation": 6,
        "pixel_mm2": None,
    }
    with Image.open(io.BytesIO(found["image"])) as shown:
        np.testing.assert_array_equal(np.asarray(shown), [[0, 0], [0, 0], [200, 200]])


def test_the_slices_of_a_volume_share_black_and_white(client, volume):
    server = client()
    shown = []
    for number in (1, 2, 3):
        found = parts(server.post(f"/page/image?image={number}&intensity=0:1000", content=volume))
        info = found["info"]
        assert (info["number"], info["count"], info["word"]) == (number, 3, "slice")
        assert (info["one_mask_file"], info["pixel_mm2"], info["orientation"]) == (True, 6, 1)
        with Image.open(io.BytesIO(found["image"])) as image:
            shown.append(np.asarray(image).min())
    assert shown == [0, 102, 204]
    # Without an intensity, the values of the whole volume decide: 400 is not black.
    found = parts(server.post("/page/image?image=2", content=volume))
    with Image.open(io.BytesIO(found["image"])) as image:
        assert np.asarray(image).min() == 102
    refused = server.post("/page/image?image=4", content=volume)
    assert refused.status_code == 400
    assert "expected a number from 1 to 3" in refused.json()["error"]


def test_masks_and_areas_are_those_of_segment(client, volume):
    server = client()
    expected = server.post("/segment?modality=fundus&threshold=0.3", content=volume).json()
    whole = server.post(
        "/segment?modality=fundus&threshold=0.3&target=disc&output=nifti", content=volume
    )
    masks = nibabel.Nifti1Image.from_bytes(_unzipped(whole.content)).get_fdata()
    for number in (1, 2, 3):
        query = f"modality=fundus&threshold=0.3&image={number}"
        found = parts(server.post(f"/page/masks?{query}", content=volume))
        info = found["info"]
        for target, colour in zip(info["targets"], ([86, 180, 233], [240, 228, 66]), strict=True):
            assert target.pop("colour") == colour
            assert target.pop("told_apart") is False
        assert (info.pop("model"), info.pop("has_probabilities")) == ("bright", True)
        notices = info.pop("notices")
        assert len(notices) == 1  # How black and white were chosen; of /segment, once for the file.
        assert info == {
            name: value
            for name, value in expected["images"][number - 1].items()
            if name != "notices"
        }
        disc = maps_of(found)[1] >= IN_MASK
        assert disc.sum() == masks[..., number - 1].sum()


def _unzipped(content):
    return zlib.decompress(content, 47)


def test_each_threshold_of_the_page_gives_the_mask_of_that_threshold(
    client, image_bytes, segmenter
):
    values = np.arange(256).reshape(16, 16)
    found = parts(client().post("/page/masks?modality=xray", content=image_bytes(values)))
    (levels,) = maps_of(found) & (IN_MASK - 1)
    probabilities = segmenter.segment([values.astype("uint8")], ["xray"])["probabilities"][0]
    for step in range(STEPS + 1):
        np.testing.assert_array_equal(levels >= step, probabilities >= step / STEPS)


def test_a_segmenter_without_probabilities(client, eye, segmenter):
    own = segmenter.segment
    segmenter.segment = lambda *arguments, **options: {"masks": own(*arguments, **options)["masks"]}
    found = parts(client().post("/page/masks?modality=xray", content=eye))
    assert found["info"]["has_probabilities"] is False
    np.testing.assert_array_equal(maps_of(found)[0], [[0] * 3 + [IN_MASK] * 3] * 4)


def test_the_modality_is_recognised_for_the_whole_file(client, image_bytes, recognizer, volume):
    server = client(recognizer)
    found = parts(server.post("/page/masks", content=image_bytes([[255, 0, 9]])))
    assert (found["info"]["modality"], found["info"]["confidence"]) == ("xray", 1.0)
    slices = [parts(server.post(f"/page/masks?image={k}", content=volume)) for k in (1, 3)]
    kinds = [(one["info"]["modality"], one["info"]["confidence"]) for one in slices]
    assert kinds[0] == kinds[1]
    refused = server.post("/page/masks", content=image_bytes([[120, 0, 9]])).json()["error"]
    assert refused.startswith("The image was not recognised: fundus 0.52")
    assert refused.endswith("Choose the modality yourself.")
    refused = client().post("/page/masks", content=image_bytes([[120, 0, 9]]))
    assert "no recogniser" in refused.json()["error"]


def test_what_cannot_be_used_is_told_without_a_path(client, eye):
    server = client(max_pixels=20)
    for address in ("/page/image", "/page/masks?modality=xray"):
        for content, words in ((b"hello", "not an image"), (eye, "24 pixels")):
            answer = server.post(address, content=content)
            assert answer.status_code == 400
            assert words in answer.json()["error"]
            assert "espmedsam-request" not in answer.json()["error"]
