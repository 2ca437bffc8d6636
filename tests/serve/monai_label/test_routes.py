"""The routes that MONAI Label's plugins call, and what they must never give away."""

import email
import email.policy
import io
import json
import logging
import tempfile
import time
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from keras_espmedsam.serve import ServedModel, ServerSettings, create_app
from keras_espmedsam.serve.logs import LOGGER, JsonFormatter
from keras_espmedsam.serve.monai_label.studies import Studies
from tests.privacy import planted_files

TOKEN = "0123456789abcdef"
# What the plugins and the client of MONAI Label 0.8.5 call, with the query parameters they use.
CONTRACT = {
    ("get", "/info/"): (),
    ("get", "/auth/"): (),
    ("post", "/auth/token"): (),
    ("get", "/auth/token/valid"): (),
    ("post", "/infer/{}"): ("image", "session_id", "output"),
    ("post", "/infer/wsi_v2/{}"): ("image", "session_id", "output"),
    ("post", "/activelearning/{}"): (),
    ("get", "/datastore/"): ("output",),
    ("put", "/datastore/image"): ("image",),
    ("head", "/datastore/image"): ("image", "check_sum"),
    ("get", "/datastore/image"): ("image",),
    ("get", "/datastore/image/info"): ("image",),
    ("put", "/datastore/image/info"): ("image",),
    ("put", "/datastore/label"): ("image", "tag"),
    ("head", "/datastore/label"): ("image", "tag"),
    ("get", "/datastore/label"): ("label", "tag"),
    ("get", "/datastore/label/info"): ("label", "tag"),
    ("put", "/datastore/label/info"): ("label", "tag"),
    ("put", "/session/"): ("expiry",),
    ("get", "/session/{}"): (),
    ("delete", "/session/{}"): (),
    ("get", "/train/"): (),
}


@pytest.fixture
def folder(tmp_path, eye, image_bytes):
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / "DOE.png").write_bytes(eye)
    (folder / "ROE.png").write_bytes(image_bytes([[255, 0, 200]] * 2))
    return folder


@pytest.fixture
def server(client, judged, recognizer, folder):
    return client(models=[ServedModel("bright", judged, recognizer)], studies=folder)


@pytest.fixture
def doe(server):
    """The id of DOE.png, the first."""
    return server.post("/activelearning/first", json={}).json()["id"]


def infer(server, query="", files=None, status=200, **params):
    form = {"params": (None, json.dumps(params)), **(files or {})}
    answer = server.post(f"/infer/bright?{query}", files=form)
    assert answer.status_code == status, answer.content
    return answer


def parts(answer):
    """The JSON, the name and the bytes of the file of an answer of several parts."""
    head = f"Content-Type: {answer.headers['content-type']}\r\n\r\n".encode()
    message = email.message_from_bytes(head + answer.content, policy=email.policy.HTTP)
    params, image = message.iter_parts()
    assert params.get_content_type() == "application/json"
    assert params.get_param("name", header="content-disposition") == "params"
    assert image.get_param("name", header="content-disposition") == "image"
    return (
        json.loads(params.get_payload(decode=True)),
        image.get_filename(),
        image.get_payload(decode=True),
    )


def pixels(content):
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(image)


def test_everything_that_plugins_call_is_there(server):
    paths = server.get("/openapi.json").json()["paths"]
    found = {
        (
            method,
            path.replace("{name}", "{}").replace("{strategy}", "{}").replace("{session_id}", "{}"),
        ): {one["name"] for one in operation.get("parameters", [])}
        for path, methods in paths.items()
        for method, operation in methods.items()
    }
    for key, parameters in CONTRACT.items():
        assert set(parameters) <= found[key], key


def test_info_has_what_plugins_show(server):
    info = server.get("/info/").json()
    assert info["labels"] == ["background", "lungs", "vessels", "disc"]
    model = info["models"]["bright"]
    assert (model["type"], model["labels"]["disc"], model["dimension"]) == ("segmentation", 3, 2)
    assert model["config"]["modality"] == ["auto", "xray", "fundus"]
    assert set(info["strategies"]) == {"first", "random", "least_confident"}
    assert info["datastore"] == {"total": 2, "completed": 0, "label_tags": {}}
    assert (info["trainers"], info["scoring"], info["train_stats"]) == ({}, {}, {})
    assert server.get("/info", follow_redirects=False).headers["location"].endswith("/info/")


def test_an_image_of_the_studies_gives_a_label_map(server, doe):
    params, name, content = parts(infer(server, f"image={doe}", modality="fundus"))
    assert name == "label.png"
    assert params["label_names"] == {"lungs": 1, "vessels": 2, "disc": 3}
    assert params["centroids"] == {"vessels": ["2", "4", "1", "0"], "disc": ["3", "1", "1", "0"]}
    assert pixels(content).tolist() == [[3, 3, 3, 2, 2, 2]] * 4
    answer = infer(server, f"image={doe}&output=image", modality="fundus", target="disc")
    assert pixels(answer.content).tolist() == [[3, 3, 3, 0, 0, 0]] * 4
    assert answer.headers["content-disposition"] == 'attachment; filename="label.png"'
    answer = infer(
        server, f"image={doe}&output=json", modality="xray", threshold=0.9, device="cuda"
    )
    assert answer.json()["centroids"] == {}
    assert answer.json()["images"][0]["predicted_dice"] == {"lungs": 0.75}
    _, name, content = parts(
        infer(
            server, f"image={doe}", modality="xray", result_extension=".nrrd", result_dtype="uint16"
        )
    )
    assert name == "label.nrrd"
    assert content.endswith(np.array([0, 0, 0, 1, 1, 1] * 4, "<u2").tobytes())


def test_the_modality_is_recognised(server, image_bytes):
    files = {"file": ("x", image_bytes([[255, 0]]))}
    params, _, content = parts(infer(server, files=files))
    assert (params["modality"], params["confidence"]) == ("xray", 1.0)
    assert pixels(content).tolist() == [[1, 0]]
    assert parts(infer(server, files=files, modality="auto"))[0]["modality"] == "xray"


def test_a_session_is_an_image_for_a_while(server, eye):
    made = server.put("/session/?expiry=60", files={"files": ("DOE.png", eye)}).json()
    id = made["session_id"]
    assert made["session_info"]["expiry"] == 60
    assert pixels(parts(infer(server, f"session_id={id}", modality="xray"))[2]).sum() == 12
    assert server.get(f"/session/{id}").json()["expiry"] == 60
    assert server.delete(f"/session/{id}").status_code == 200
    assert "send the image again" in infer(server, f"session_id={id}", status=404).json()["error"]


def test_a_label_is_saved_and_the_image_is_done(server, doe, folder, eye):
    form = {"label": ("../../label.exe", eye), "params": (None, '{"label_info": [{"name": "a"}]}')}
    saved = server.put(f"/datastore/label?image={doe}", files=form)
    assert saved.json() == {"image": doe, "label": doe}
    assert (folder / "labels" / "final" / "DOE.png").read_bytes() == eye
    answer = server.get(f"/datastore/label?label={doe}&tag=final")
    assert answer.content == eye
    assert answer.headers["content-disposition"] == f'attachment; filename="{doe}.png"'
    assert server.head(f"/datastore/label?image={doe}&tag=final").status_code == 200
    assert server.head(f"/datastore/label?image={doe}&tag=original").status_code == 404
    form = {"params": (None, '{"status": "approved"}')}
    assert server.put(f"/datastore/updatelabelinfo?label={doe}&tag=final", files=form).json() == {}
    info = server.get(f"/datastore/label/info?label={doe}&tag=final").json()
    assert (info["status"], info["label_info"]) == ("approved", [{"name": "a"}])
    assert server.get("/datastore/").json() == {
        "total": 2,
        "completed": 1,
        "label_tags": {"final": 1},
    }
    assert server.get("/datastore/?output=train").json() == [{"image": doe, "label": doe}]
    (other,) = {server.post("/activelearning/random").json()["id"] for _ in range(9)}
    assert other != doe
    server.put(f"/datastore/label?image={other}", files={"label": ("a", eye)})
    assert server.post("/activelearning/first").json() == {}


def test_a_models_own_label_is_kept_if_asked_for(server, doe, folder):
    infer(server, f"image={doe}", modality="xray", save_label=True)
    label = server.get("/datastore/?output=all").json()["objects"][doe]["labels"]["original"]
    assert label["ext"] == ".png"
    assert label["info"]["params"]["label_names"]["lungs"] == 1
    assert pixels((folder / "labels" / "original" / "DOE.png").read_bytes()).sum() == 12


def test_images_are_given_and_taken(server, doe, eye, folder, image_bytes):
    answer = server.get(f"/datastore/image?image={doe}")
    assert answer.content == eye
    assert "DOE" not in str(answer.headers)
    for check, status in (("", 200), ("SHA256:00", 404), ("MD4:00", 400)):
        assert server.head(f"/datastore/image?image={doe}&check_sum={check}").status_code == status
    new = image_bytes([[200]])
    added = server.put("/datastore/image?image=My scan", files={"file": ("x.nii.gz", new)})
    assert added.json() == {"image": "My scan"}
    assert parts(infer(server, "image=My scan", modality="xray"))[0]["modality"] == "xray"
    assert server.get("/datastore/image/info?image=My scan").json()["name"] == "My scan.png"
    form = {"info": (None, '{"hard": true}')}
    assert server.put("/datastore/image/info?image=My scan", files=form).status_code == 200
    assert server.get("/datastore/image/info?image=My scan").json()["hard"] is True
    assert (folder / "DOE.png").read_bytes() == eye


def test_what_one_viewer_says_is_no_path_for_another(server, eye, folder):
    for one in folder.glob("*.png"):
        one.unlink()
    form = {"file": ("x", eye), "params": (None, '{"path": "/etc/passwd", "checksum": "1"}')}
    assert server.put("/datastore/image?image=../../.bashrc", files=form).status_code == 200
    sample = server.post("/activelearning/first").json()
    assert sample == {"id": "../../.bashrc", "name": "_.._.._.bashrc.png"}
    answer = server.get("/datastore/image?image=../../.bashrc")
    assert answer.headers["content-disposition"] == 'attachment; filename="_.._.._.bashrc.png"'


def test_the_least_sure_image_is_next(server, judged, folder, doe):
    def quality(images, modalities, **options):
        found = original(images, modalities, **options)
        found["quality"] = [{"lungs": 0.9 if one.shape[1] == 6 else 0.3} for one in images]
        return found

    while server.get("/health").status_code != 200:  # The server still runs each batch size once.
        time.sleep(0.01)
    original, judged.segment = judged.segment, quality
    calls = len(judged.batches)
    (folder / "AAA.png").write_bytes(b"no image")
    chosen = server.post("/activelearning/least_confident", json={"modality": "xray"}).json()
    assert chosen["id"] not in (doe, "")
    assert chosen["predicted_dice"] == 0.3
    assert len(judged.batches) == calls + 2
    again = server.post("/activelearning/least_confident", json={"modality": "xray"}).json()
    assert again == chosen
    assert len(judged.batches) == calls + 2  # It remembers.


def test_outlines_are_drawn_by_the_plugin_for_qupath(server, doe, eye):
    body = {"wsi": (None, json.dumps({"min_poly_area": 12, "params": {"modality": "fundus"}}))}
    answer = server.post("/infer/wsi_v2/bright?output=asap", files={**body, "file": ("p", eye)})
    root = ElementTree.fromstring(answer.content)
    found = {one.get("Name"): one for one in root.iter("Annotation")}
    assert set(found) == {"vessels", "disc"}
    corners = {(one.get("X"), one.get("Y")) for one in found["vessels"].iter("Coordinate")}
    assert corners == {("3", "0"), ("6", "0"), ("6", "4"), ("3", "4")}
    asked = {"location": [2, 1], "size": [2, 9], "params": {"modality": "xray"}}
    answer = server.post(f"/infer/wsi/bright?image={doe}&output=asap", json=asked)
    (one,) = ElementTree.fromstring(answer.content).iter("Annotation")
    corners = {(one.get("X"), one.get("Y")) for one in one.iter("Coordinate")}
    assert corners == {("3", "1"), ("4", "1"), ("4", "4"), ("3", "4")}
    asked["min_poly_area"] = 4
    answer = server.post(f"/infer/wsi/bright?image={doe}", json=asked)
    assert not list(ElementTree.fromstring(answer.content).iter("Annotation"))
    answer = server.post(f"/infer/wsi/bright?image={doe}&output=json", json=asked)
    assert answer.json()["modality"] == "xray"


REFUSED = [
    ("post", "/infer/dull?image=a", {}, 404, "no model 'dull'"),
    ("post", "/infer/bright?image=a", {}, 404, "no image 'a'"),
    ("post", "/infer/bright?image=../DOE.png", {}, 404, "no image"),
    ("post", "/infer/bright", {}, 400, "no image; send it"),
    ("post", "/infer/bright?output=dicom", {}, 400, "'all', 'image' or 'json'"),
    ("post", "/infer/bright?image=a", {"params": "[]"}, 400, "expected a JSON object"),
    ("post", "/infer/bright", {"params": '{"threshold": 2}', "file": 1}, 400, "'threshold': 2"),
    ("post", "/infer/bright", {"params": '{"modality": 7}', "file": 1}, 400, "'modality': 7"),
    ("post", "/infer/bright", {"params": '{"target": "x"}', "file": 1}, 400, "'x'"),
    ("post", "/infer/bright", {"label": 1, "file": 1}, 400, "label to start from"),
    ("post", "/infer/wsi_v2/bright", {"wsi": '{"size": [1]}', "file": 1}, 400, "size=[1]"),
    ("post", "/infer/wsi_v2/bright", {"wsi": '{"params": 1}', "file": 1}, 400, "params=1"),
    (
        "post",
        "/infer/wsi_v2/bright",
        {"wsi": '{"location": [9, 0], "size": [2, 2]}', "file": 1},
        400,
        "outside the image of 6 x 4",
    ),
    ("put", "/datastore/label?image=a", {"params": "{}"}, 400, "without a file label"),
    ("put", "/datastore/label?image=a", {"label": 1}, 404, "no image 'a'"),
    ("put", "/datastore/image", {"file": ""}, 400, "empty"),
    ("put", "/session/", {"file": 1}, 400, "without a file files"),
    ("get", "/datastore/label", None, 400, "'label' is missing"),
    ("get", "/train/?check_if_running=true", None, 404, "does not train"),
    ("post", "/train/bright", None, 404, "does not train"),
    ("post", "/activelearning/frist", None, 404, "did you mean first?"),
    ("delete", "/datastore/image?id=a", None, 405, "does not take this method"),
    ("get", "/logs/", None, 404, "nothing at this address"),
]


def test_what_cannot_be_done_is_told_in_a_sentence(server, eye):
    """All on one server: to start one takes longer than to ask it."""
    for method, path, form, status, words in REFUSED:
        files = {
            name: ("file", eye) if value == 1 else (None, value) if name != "file" else ("a", b"")
            for name, value in (form or {}).items()
        }
        answer = server.request(method, path, files=files or None)
        assert answer.status_code == status, (path, answer.content)
        assert list(answer.json()) == ["error"]
        assert words in answer.json()["error"], path


def test_without_studies_there_are_sessions_and_files_only(client, eye):
    server = client()
    assert server.get("/info/").json()["strategies"] == {}
    assert server.get("/datastore/?output=all").json()["objects"] == {}
    for answer in (
        server.get("/datastore/image?image=a"),
        server.put("/datastore/label?image=a", files={"label": ("a", eye)}),
        server.post("/activelearning/first", json={}),
        server.post("/infer/bright?image=a"),
    ):
        assert answer.status_code == 404
        assert "--studies" in answer.json()["error"]
    files = {"file": ("a", eye)}
    answer = infer(server, files=files, status=400)
    assert "no recogniser" in answer.json()["error"]
    assert pixels(parts(infer(server, files=files, modality="xray"))[2]).sum() == 12


def test_a_server_that_stops_leaves_no_session_and_frees_the_studies(
    judged, folder, eye, tmp_path, monkeypatch
):
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    app = create_app([ServedModel("bright", judged)], ServerSettings(studies=folder))
    with TestClient(app, "http://127.0.0.1") as server:
        assert server.put("/session/", files={"files": ("a", eye)}).status_code == 200
        assert list((tmp_path / "temporary").glob("espmedsam-sessions-*/*.png"))
    assert not list((tmp_path / "temporary").iterdir())
    Studies(folder, 1000).close()


def test_the_token_is_the_password(client):
    server = client(token=TOKEN)
    assert server.get("/info/").status_code == 401
    assert server.get("/auth/").json()["enabled"] is True
    wrong = server.post("/auth/token", data={"username": "me", "password": "wrong"})
    assert (wrong.status_code, "wrong" in wrong.json()["error"]) == (401, True)
    assert server.post("/auth/token", content=b"x" * 5000).status_code == 413
    given = server.post("/auth/token", data={"username": "me", "password": TOKEN}).json()
    headers = {"Authorization": f"{given['token_type']} {given['access_token']}"}
    assert server.get("/auth/token/valid", headers=headers).status_code == 200
    assert server.get("/info/", headers=headers).status_code == 200
    assert server.get("/auth/token/valid").status_code == 401
    assert client().post("/auth/token", data={"password": "any"}).json()["access_token"] is None


def test_a_damaged_image_of_the_studies_keeps_its_name_to_itself(server, folder, doe, eye):
    (folder / "DOE.png").write_bytes(eye[:40])
    answer = infer(server, f"image={doe}", modality="xray", status=400)
    assert answer.json()["error"].startswith("The image is damaged")


def test_nothing_of_a_name_or_header_is_answered_or_logged(client, judged, tmp_path, caplog):
    """But the images themselves, whole, to those who may have them."""
    caplog.set_level(logging.DEBUG, LOGGER)
    planted = planted_files.plant_images(tmp_path / "images")
    server = client(models=[ServedModel("bright", judged)], studies=tmp_path / "images")
    answers = [server.get("/info/"), server.get("/datastore/?output=all")]
    ids = list(answers[1].json()["objects"])
    assert len(ids) > 8
    for id in ids:
        for extension in ("", ".nrrd", ".nii.gz"):
            answers.append(
                infer(server, f"image={id}", modality="xray", result_extension=extension)
            )
        answers.append(
            server.post(f"/infer/wsi/bright?image={id}", json={"params": {"modality": "xray"}})
        )
        headers = server.get(f"/datastore/image?image={id}").headers
        assert not planted_files.found_in(str(headers).encode())
        answers.append(server.get(f"/datastore/image/info?image={id}"))
    answers.append(server.post("/activelearning/first", json={}))
    for one in answers:
        assert one.status_code == 200, one.content
        assert not planted_files.found_in(one.content), one.url
        assert not planted_files.found_in(str(one.headers).encode()), one.url
    logged = "".join(JsonFormatter().format(one) for one in caplog.records)
    assert not planted_files.found_in(logged.encode())
    assert len(planted) >= len(ids)
