"""The Open Inference Protocol in this process; tests/serve/test_server.py has its client."""

import numpy as np
import pytest

from keras_espmedsam.serve import ServedModel

IMAGES = np.array([[[0, 255], [0, 200]]], "uint8")


def infer(server, images=IMAGES, modalities=("xray",), path="/v2/models/bright/infer", **more):
    inputs = [{"name": "images", "shape": images.shape, "datatype": "UINT8"}]
    inputs[0]["data"] = images.ravel().tolist()
    if modalities is not None:
        shape = [len(modalities)]
        named = {"name": "modalities", "shape": shape, "datatype": "BYTES", "data": modalities}
        inputs.append(named)
    return server.post(path, json={"inputs": inputs, **more})


def outputs(answer):
    assert answer.status_code == 200, answer.content
    return {
        one["name"]: np.array(one["data"]).reshape(one["shape"]) for one in answer.json()["outputs"]
    }


def test_masks_and_probabilities(client):
    server = client()
    found = outputs(infer(server))
    assert found["masks"].tolist() == [[[[0], [1]], [[0], [1]]]]
    np.testing.assert_allclose(found["probabilities"][0, 1, 1, 0], 200 / 255, atol=1e-6)
    assert found["modalities"].tolist() == ["xray"]
    assert found["targets"].tolist() == ["lungs"]
    found = outputs(infer(server, parameters={"threshold": 0.9}))
    assert found["masks"].sum() == 1
    found = outputs(infer(server, modalities=["fundus"], parameters={"target": "disc"}))
    assert found["targets"].tolist() == ["disc"]
    assert found["masks"][..., 0].tolist() == [[[1, 0], [1, 0]]]


@pytest.mark.parametrize("shape", [(2, 4, 3), (2, 4, 3, 1), (2, 4, 3, 3)])
def test_several_images_of_one_or_three_channels(client, shape):
    images = np.full(shape, 255, "uint8")
    found = outputs(infer(client(), images, ["fundus"]))
    assert found["masks"].shape == (2, 4, 3, 2)
    assert found["masks"][..., 0].all()
    assert not found["masks"][..., 1].any()
    assert found["modalities"].tolist() == ["fundus", "fundus"]


def test_the_modality_is_recognised(client, recognizer):
    images = np.full((2, 2, 2), 255, "uint8")
    assert outputs(infer(client(recognizer), images, None))["modalities"].tolist() == ["xray"] * 2


def test_what_is_asked_for_has_an_id_and_a_version(client):
    server = client()
    answer = infer(server, id="7", path="/v2/models/bright/versions/1/infer").json()
    assert (answer["id"], answer["model_name"], answer["model_version"]) == ("7", "bright", "1")
    assert infer(server, path="/v2/models/bright/versions/2/infer").status_code == 404
    assert infer(server, path="/v2/models/dull/infer").status_code == 404


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"modalities": None}, "no recogniser"),
        ({"modalities": ["eye"]}, "eye"),
        ({"modalities": ["xray", "xray"]}, "2"),
        ({"images": IMAGES[0]}, "shape"),
        ({"images": np.zeros((1, 2, 2, 4), "uint8")}, "shape"),
        ({"images": np.zeros((1, 20, 20), "uint8")}, "400 pixels"),
        ({"images": np.zeros((1, 13, 13), "uint8")}, "bad luck"),
        ({"parameters": {"treshold": 0.5}}, "did you mean threshold"),
        ({"parameters": {"threshold": "0.5"}}, "a number"),
        ({"parameters": {"threshold": 2}}, "threshold"),
        ({"parameters": {"mirror": 1}}, "true or false"),
        ({"parameters": {"guarantee": "recall", "threshold": 0.5}}, "leave one"),
        ({"parameters": {"guarantee": "luck"}}, "guarantee"),
        ({"parameters": {"guarantee": "recall", "scales": "1,0.5"}}, "leave one"),
        ({"parameters": {"scales": 0.5}}, "a text"),
        ({"parameters": {"scales": "1,nan"}}, "different ones"),
        ({"parameters": {"scales": "1,2.5"}}, "up to 2"),
        ({"parameters": {"scales": "1,1.1,1.2,1.3,1.4"}}, "up to 4"),
        ({"parameters": {"target": "disc"}}, "disc"),
        ({"parameters": {"target": "nose"}}, "nose"),
        ({"outputs": [{"name": "mask"}]}, "masks"),
    ],
)
def test_what_does_not_fit_is_told_in_a_sentence(client, change, words):
    answer = infer(client(max_pixels=200), **change)
    assert answer.status_code == 400, answer.content
    assert words in answer.json()["error"]


def test_how_good_the_masks_are_and_whether_the_images_are_of_the_right_kind(client, judged):
    server = client(models=[ServedModel("bright", judged)])
    found = outputs(infer(server, np.concatenate([IMAGES, IMAGES])))
    assert found["quality"].tolist() == [[0.75], [0.75]]
    assert found["scope_score"].tolist() == [1.5, 1.5]
    assert found["in_scope"].tolist() == [0, 0]
    listed = {one["name"]: one for one in server.get("/v2/models/bright").json()["outputs"]}
    assert [one for one in listed if one not in found] == []
    assert {listed[name]["datatype"] for name in ("quality", "scope_score")} == {"FP32"}
    # It tells nothing of fundus images.
    found = outputs(infer(server, modalities=["fundus"]))
    assert list(found) == ["masks", "probabilities", "modalities", "targets"]
    wanted = [{"name": "quality"}]
    answer = infer(server, modalities=["fundus"], outputs=wanted)
    assert answer.status_code == 400 and "'quality'; expected masks" in answer.json()["error"]


def test_scales_are_those_of_the_command(client, judged):
    server = client(models=[ServedModel("bright", judged)])
    found = outputs(infer(server, parameters={"scales": "0.75,1"}))
    assert "quality" in found and "scope_score" not in found
    outputs(infer(server, parameters={"scales": "1"}))
    assert set(judged.scales) == {(0.75, 1.0), None}


def test_images_with_different_targets_do_not_fit_into_a_tensor(client):
    images = np.concatenate([IMAGES, IMAGES])
    answer = infer(client(), images, ["xray", "fundus"])
    assert "send a request for each modality" in answer.json()["error"]


def test_metadata_and_health(client):
    server = client()
    assert server.get("/v2").json()["extensions"] == ["binary_tensor_data"]
    assert server.get("/v2/health/live").json() == {"live": True}
    metadata = server.get("/v2/models/bright").json()
    assert [one["name"] for one in metadata["inputs"]] == ["images", "modalities"]
    assert server.get("/v2/models/bright/versions/1").json() == metadata
    assert server.get("/v2/models/dull/ready").status_code == 404
