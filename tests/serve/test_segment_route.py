"""POST /segment: what `espmedsam segment` writes, by HTTP."""

import errno
import io
import json
import zipfile

import numpy as np
import pytest
from PIL import Image

from keras_espmedsam.inference import ResultWriter, result_writer, segment_files
from keras_espmedsam.serve import ServedModel


def refusal(response, status):
    """The sentence of an answer that refuses."""
    assert response.status_code == status, response.content
    content = response.json()
    assert list(content) == ["error"]
    assert "\n" not in content["error"]
    assert "espmedsam-request" not in content["error"]
    return content["error"]


def test_areas_as_json(client, eye):
    answer = client().post("/segment?modality=xray", content=eye)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    content = answer.json()
    assert content["model"] == "bright"
    (image,) = content["images"]
    (target,) = image.pop("targets")
    assert image == {
        "number": 1,
        "width": 6,
        "height": 4,
        "modality": "xray",
        "confidence": None,
        "blank": False,
        "in_scope": None,
        "scope_score": None,
        "notices": [],
    }
    assert target["target"] == "lungs"
    assert (target["objects"], target["area_pixels"], target["area_share"]) == (1, 12, 0.5)
    assert target["area_mm2"] is None


def test_whether_the_image_is_of_the_right_kind(client, eye, judged):
    server = client(models=[ServedModel("bright", judged)])
    (image,) = server.post("/segment?modality=xray", content=eye).json()["images"]
    assert (image["scope_score"], image["in_scope"]) == (1.5, False)
    assert image["targets"][0]["predicted_dice"] == 0.75


def test_scales_are_those_of_the_command(client, eye, judged):
    server = client(models=[ServedModel("bright", judged)])
    (image,) = server.post("/segment?modality=xray&scales=0.75,1", content=eye).json()["images"]
    assert (0.75, 1.0) in judged.scales
    assert image["in_scope"] is None


def test_the_files_are_those_of_the_command(client, eye, segmenter, tmp_path):
    (tmp_path / "image").write_bytes(eye)
    writer = ResultWriter(tmp_path / "masks", tmp_path / "image", polygons="geojson")
    for result in segment_files(segmenter, tmp_path / "image", "fundus"):
        writer.write(result)
    expected = {path.name: path.read_bytes() for path in (tmp_path / "masks").iterdir()}
    assert len(expected) == 3  # Two masks and the outlines.
    answer = client().post("/segment?modality=fundus&output=zip&outlines=geojson", content=eye)
    assert answer.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        found = {name: archive.read(name) for name in archive.namelist()}
    areas = json.loads(found.pop("result.json"))["images"][0]["targets"]
    assert [one["area_pixels"] for one in areas] == [12, 12]
    assert found == expected


def test_one_mask_as_png(client, eye):
    answer = client().post("/segment?modality=fundus&target=disc&output=png", content=eye)
    assert answer.headers["content-type"] == "image/png"
    with Image.open(io.BytesIO(answer.content)) as mask:
        np.testing.assert_array_equal(np.asarray(mask), [[255] * 3 + [0] * 3] * 4)


def test_a_turned_photograph_gets_a_mask_as_stored(client, image_bytes):
    exif = Image.Exif()
    exif[0x0112] = 6
    image = image_bytes([[0, 0, 200]] * 2, "JPEG", exif=exif, quality=95)
    answer = client().post("/segment?modality=xray&output=png", content=image)
    with Image.open(io.BytesIO(answer.content)) as mask:
        assert mask.size == (3, 2)
        assert mask.getexif()[0x0112] == 6


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_volume_gives_a_nifti_mask_of_its_geometry(client, tmp_path, suffix):
    nibabel = pytest.importorskip("nibabel")
    array = np.zeros((5, 4, 3), "uint8")
    array[:2] = 200
    volume = nibabel.Nifti1Image(array, np.diag([2.0, 3.0, 4.0, 1.0]))
    volume.header["descrip"] = b"DOE^JANE"
    nibabel.save(volume, tmp_path / f"scan{suffix}")
    content = (tmp_path / f"scan{suffix}").read_bytes()
    answer = client().post("/segment?modality=xray&output=nifti", content=content)
    assert answer.status_code == 200, answer.content
    (tmp_path / f"mask{suffix}").write_bytes(answer.content)
    mask = nibabel.load(tmp_path / f"mask{suffix}")
    np.testing.assert_array_equal(mask.get_fdata(), array > 100)
    np.testing.assert_array_equal(mask.affine, volume.affine)
    answer = client().post("/segment?modality=xray", content=content)
    areas = [one["targets"][0] for one in answer.json()["images"]]
    assert [one["area_pixels"] for one in areas] == [8, 8, 8]
    assert [one["area_mm2"] for one in areas] == [48, 48, 48]
    assert b"DOE" not in answer.content
    refused = client().post("/segment?modality=xray&output=png", content=content)
    assert "3 slices" in refusal(refused, 400)


def test_a_dicom_segmentation(client, segmenter, eye, tmp_path):
    pydicom = pytest.importorskip("pydicom", reason="it is of the extra dicom")
    pytest.importorskip("highdicom", reason="it is of the extra dicom")
    from tests.dicom.images import dicom_image

    path = dicom_image(tmp_path / "image.dcm", "ultrasound clip")
    model = ServedModel("nano", segmenter, source="espmedsam_nano_256")
    asked, content = "/segment?modality=fundus&output=dicom-seg", path.read_bytes()
    server = client(models=[model, ServedModel("bright", segmenter)])
    answer = server.post(f"{asked}&model=nano", content=content)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/dicom"
    found = pydicom.dcmread(io.BytesIO(answer.content))
    assert [one.SegmentLabel for one in found.SegmentSequence] == ["vessels", "disc"]
    assert (found.NumberOfFrames, found.PatientID) == (6, "planted-4711")
    assert found.ManufacturerModelName == "espmedsam_nano_256"
    again = server.post(f"{asked}&model=nano&threshold=0.3", content=content)
    other = pydicom.dcmread(io.BytesIO(again.content))
    assert other.SOPInstanceUID != found.SOPInstanceUID
    sentence = refusal(server.post(f"{asked}&model=nano", content=eye), 400)
    assert "an image that is no DICOM file" in sentence
    assert "a source" in refusal(server.post(f"{asked}&model=bright", content=content), 400)


def test_objects_as_run_lengths_and_as_outlines(client, eye):
    server = client()
    coco = server.post("/segment?modality=xray&outlines=coco", content=eye).json()["coco"]
    assert coco["annotations"][0]["area"] == 12
    assert coco["images"][0]["file_name"] == "image"
    (image,) = server.post("/segment?modality=xray&outlines=geojson", content=eye).json()["images"]
    (feature,) = image["geojson"]["features"]
    corners = feature["geometry"]["coordinates"][0]
    assert sorted(map(tuple, corners[1:])) == [(3, 0), (3, 4), (6, 0), (6, 4)]


def test_the_modality_is_recognised(client, image_bytes, recognizer):
    server = client(recognizer)
    image = image_bytes([[255, 0, 9]])
    (found,) = server.post("/segment", content=image).json()["images"]
    assert (found["modality"], found["confidence"]) == ("xray", 1.0)
    image = image_bytes([[120, 0, 9]])
    sentence = refusal(server.post("/segment?modality=auto", content=image), 400)
    assert sentence.startswith("The image was not recognised: fundus 0.52")


def test_several_models_have_names(client, segmenter, eye):
    server = client(models=[ServedModel("a", segmenter), ServedModel("b@2", segmenter)])
    sentence = refusal(server.post("/segment?modality=xray", content=eye), 400)
    assert sentence == "Give model, one of: a, b@2."
    answer = server.post("/segment?modality=xray&model=b@2", content=eye)
    assert answer.json()["model"] == "b@2"
    models = server.get("/models").json()
    assert [one["name"] for one in models] == ["a", "b@2"]
    assert models[0]["targets"] == {"xray": ["lungs"], "fundus": ["vessels", "disc"]}


@pytest.mark.parametrize(
    ("query", "status", "words"),
    [
        ("", 400, "no recogniser"),
        ("modality=eye", 400, "Unknown modality 'eye'"),
        ("modality=xray&treshold=0.2", 400, "did you mean threshold?"),
        ("modality=xray&threshold=much", 400, "Received 'threshold': 'much'"),
        ("modality=xray&threshold=2", 400, "less than or equal to 1"),
        ("modality=xray&threshold=nan", 400, "threshold"),
        ("modality=xray&output=gif", 400, "'json', 'png', 'nifti', 'dicom-seg' or 'zip'"),
        ("modality=xray&target=disc", 400, "disc"),
        ("modality=xray&target=", 400, "target"),
        ("modality=xray&intensity=9", 400, "intensity"),
        ("modality=xray&guarantee=recall", 400, "guarantee"),
        ("modality=xray&guarantee=recall&mirror=1", 400, "mirror"),
        ("modality=xray&guarantee=recall&scales=0.5", 400, "scales"),
        ("modality=xray&scales=1,3", 400, "up to 2"),
        ("modality=xray&output=png&outlines=coco", 400, "output=zip"),
        ("modality=xray&output=nifti", 400, "NIfTI"),
        ("modality=fundus&output=png", 400, "vessels, disc"),
        ("modality=xray&model=dull", 404, "bright"),
    ],
)
def test_a_wrong_query_is_told_in_a_sentence(client, eye, query, status, words):
    assert words in refusal(client().post(f"/segment?{query}", content=eye), status)


def test_a_wrong_body_is_told_in_a_sentence(client, eye, image_bytes):
    server = client(max_pixels=100, max_bytes=1000)

    def post(content, **headers):
        return server.post("/segment?modality=xray", content=content, headers=headers)

    assert "empty" in refusal(post(b""), 400)
    assert refusal(post(b"hello"), 400).startswith("The image is not an image")
    assert refusal(post(eye[:50]), 400).startswith("The image cannot be decoded")
    assert "121 pixels" in refusal(post(image_bytes(np.zeros((11, 11)))), 400)
    assert "1,000 bytes" in refusal(post(bytes(1001)), 413)
    assert "1,000 bytes" in refusal(post(iter([bytes(600)] * 2)), 413)  # Without its length.
    assert "13 x 13" in refusal(client().post("/segment?modality=xray", content=bad(13)), 400)
    assert "compressed" in refusal(post(eye, **{"content-encoding": "gzip"}), 415)
    form = server.post("/segment?modality=xray", files={"image": ("doe.png", eye)})
    assert "--data-binary" in refusal(form, 415)


def bad(size):
    stream = io.BytesIO()
    Image.new("L", (size, size), 9).save(stream, "PNG")
    return stream.getvalue()


def test_a_failure_of_the_model_is_not_explained_by_its_text(client, caplog):
    caplog.set_level("INFO", "keras_espmedsam.serve")
    answer = client().post("/segment?modality=xray", content=bad(7))
    assert "its log says where" in refusal(answer, 500)
    record = next(one for one in caplog.records if one.fields.get("status") == 500)
    assert record.fields["error"] == "RuntimeError"
    assert any(place.startswith("keras_espmedsam.serve.") for place in record.fields["at"])
    assert "patient" not in f"{record.getMessage()} {record.fields}"


def test_a_full_disk_is_the_servers_own_fault(client, eye, monkeypatch):
    def full(*arguments, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    server = client()
    monkeypatch.setattr(result_writer, "write_mask", full)
    answer = server.post("/segment?modality=xray&output=zip", content=eye)
    assert "disk may be full" in refusal(answer, 503)
    monkeypatch.undo()
    assert server.post("/segment?modality=xray&output=zip", content=eye).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/segment", 405), ("GET", "/nothing", 404)]
)
def test_other_addresses(client, method, path, status):
    assert "/openapi.json" in refusal(client().request(method, path), status)
