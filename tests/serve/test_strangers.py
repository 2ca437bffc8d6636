"""Images full of names, and damaged ones: no name gets out, and none of them stops the server."""

import importlib.util
import json
import logging
import pathlib

import pytest

from keras_espmedsam.serve.logs import LOGGER, JsonFormatter
from tests.privacy import planted_files

pytest.importorskip("nibabel")
pytest.importorskip("pydicom")
pytest.importorskip("tifffile")


FILES = 12


def logged(records):
    return "".join(JsonFormatter().format(one) for one in records)


def test_nothing_of_a_header_is_answered_or_logged(client, tmp_path, caplog):
    caplog.set_level(logging.DEBUG, LOGGER)
    images = planted_files.plant_images(tmp_path / "images")
    assert len(images) > 8
    server = client()
    for name, path in images.items():
        content = path.read_bytes()
        assert planted_files.found_in(content), name
        answers = []
        for query in ("outlines=geojson", "outlines=coco", "output=zip", "output=png"):
            answers.append(server.post(f"/segment?modality=xray&{query}", content=content))
        assert [one.status_code for one in answers[:3]] == [200] * 3, name
        for address in ("/page/image", "/page/masks?modality=xray"):
            answers.append(server.post(address, content=content))
            assert answers[-1].status_code == 200, (name, address)
        cut = server.post("/segment?modality=xray", content=content[: len(content) // 2])
        for one in (*answers, cut):
            assert not planted_files.found_in(one.content), (name, one.url)
            assert not planted_files.found_in(str(one.headers).encode()), name
    assert not planted_files.found_in(logged(caplog.records).encode())
    assert not planted_files.found_in(server.get("/metrics").content)


def load_seeds():
    path = pathlib.Path(__file__).parents[2] / "benchmarks" / "hostile_seeds.py"
    spec = importlib.util.spec_from_file_location("hostile_seeds", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_damaged_bodies_are_refused_in_a_sentence(client):
    """`FILES` of each kind; with 170 there are more than a thousand."""
    seeds, server = load_seeds(), client()
    statuses = set()
    for kind, sound in seeds.image_seeds().items():
        for number in range(FILES):
            body = seeds.damaged(kind, sound, number)
            answer = server.post("/segment?modality=xray", content=body)
            statuses.add(answer.status_code)
            content = answer.json()
            if answer.status_code == 200:
                assert content["images"]
            else:
                assert list(content) == ["error"]
                assert content["error"].isprintable()
    tensor = {"name": "images", "shape": [1, 2, 2, 3], "datatype": "UINT8", "data": [0] * 12}
    names = {"name": "modalities", "shape": [1], "datatype": "BYTES", "data": ["xray"]}
    sound = [json.dumps({"inputs": [tensor, names]}).encode()]
    for number in range(FILES):
        body = seeds.damaged("artefact: description", sound, number)
        answer = server.post("/v2/models/bright/infer", content=body)
        statuses.add(answer.status_code)
        assert answer.json()
    assert statuses <= {200, 400}
    assert 400 in statuses
