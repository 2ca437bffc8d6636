"""A bounded number of requests, each with its time; what is measured and logged about them."""

import json
import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from prometheus_client.parser import text_string_to_metric_families

from keras_espmedsam.serve.logs import LOGGER, JsonFormatter
from keras_espmedsam.serve.tensors import read_request

PATH = "/segment?modality=xray"


@pytest.fixture
def gate(segmenter):
    """Holds the model: `gate.held` is set when it is called, `gate.open` lets it go on."""

    class Gate:
        held, open = threading.Event(), threading.Event()

    def during():
        Gate.held.set()
        Gate.open.wait(10)

    Gate.arm = lambda: setattr(segmenter, "during", during)
    yield Gate
    Gate.open.set()


def ready(server):
    until = time.monotonic() + 10
    while server.get("/health").status_code != 200:
        assert time.monotonic() < until
        time.sleep(0.005)
    return server


def samples(server):
    families = text_string_to_metric_families(server.get("/metrics").text)
    return {
        (one.name, *sorted(one.labels.values())): one.value
        for family in families
        for one in family.samples
    }


def test_more_requests_than_are_accepted_are_told_when_to_come_again(client, eye, gate):
    server = ready(client(queue_size=2))
    gate.arm()
    with ThreadPoolExecutor(2) as pool:
        first = [pool.submit(server.post, PATH, content=eye) for _ in range(2)]
        assert gate.held.wait(10)
        while samples(server)["espmedsam_accepted_requests",] < 2:
            time.sleep(0.005)
        refused = server.post(PATH, content=eye)
        assert refused.status_code == 429
        assert int(refused.headers["retry-after"]) >= 1
        assert "2 requests" in refused.json()["error"]
        assert server.get("/models").status_code == 200  # Only what takes long is limited.
        gate.open.set()
        assert [one.result().status_code for one in first] == [200, 200]
    assert server.post(PATH, content=eye).status_code == 200
    assert samples(server)["espmedsam_accepted_requests",] == 0


def test_requests_share_a_call_of_the_model(client, eye, gate, segmenter):
    server = ready(client(batch_size=4))
    segmenter.batches.clear()
    gate.arm()
    with ThreadPoolExecutor(5) as pool:
        first = pool.submit(server.post, PATH, content=eye)
        assert gate.held.wait(10)
        others = [pool.submit(server.post, PATH, content=eye) for _ in range(4)]
        while samples(server)["espmedsam_accepted_requests",] < 5:
            time.sleep(0.005)
        time.sleep(0.2)  # They are read by then.
        gate.open.set()
        assert {one.result().status_code for one in [first, *others]} == {200}
    assert segmenter.batches == [1, 4]


def test_a_request_that_takes_too_long_is_given_up(client, eye, gate, segmenter):
    server = ready(client(seconds=0.5))
    gate.arm()
    answer = server.post(PATH, content=eye)
    assert answer.status_code == 503
    assert "0.5 s" in answer.json()["error"]
    assert int(answer.headers["retry-after"]) >= 1
    assert server.post(PATH, content=eye).status_code == 503  # The model is still busy.
    segmenter.batches.clear()
    gate.open.set()
    until = time.monotonic() + 10
    while server.post(PATH, content=eye).status_code != 200:
        assert time.monotonic() < until
    assert set(segmenter.batches) == {1}  # What was given up before it began is not computed.


def test_it_is_ready_when_each_batch_size_was_run(client, gate, segmenter):
    gate.arm()
    server = client(batch_size=4)
    assert gate.held.wait(10)
    assert server.get("/v2/health/ready").status_code == 503
    assert server.get("/v2/models/bright/ready").json() == {"name": "bright", "ready": False}
    assert server.get("/v2/health/live").status_code == 200
    gate.open.set()
    ready(server)
    assert server.get("/v2/health/ready").json() == {"ready": True}
    assert segmenter.batches == [1, 2, 4]


def test_metrics(client, eye):
    server = ready(client())
    server.post(PATH, content=eye)
    server.post("/segment?modality=eye", content=eye)
    server.request("BREW", "/of/a/patient")
    found = samples(server)
    assert found["espmedsam_requests_total", "/segment", "200", "POST"] == 1
    assert found["espmedsam_requests_total", "/segment", "400", "POST"] == 1
    assert found["espmedsam_requests_total", "404", "other", "other"] == 1
    assert found["espmedsam_request_seconds_count", "/segment"] == 2
    assert found["espmedsam_batch_images_sum", "bright", "segment"] == 1
    assert found["espmedsam_batch_seconds_count", "bright", "segment"] == 1
    assert "patient" not in server.get("/metrics").text


def test_a_request_is_logged_without_its_content(client, image_bytes, caplog):
    caplog.set_level(logging.INFO, LOGGER)
    image = image_bytes([[0, 200]], pnginfo=None)
    server = ready(client())
    caplog.clear()
    headers = {"x-patient": "DOE", "content-disposition": "attachment; filename=DOE.png"}
    server.post(f"{PATH}&output=png", content=image, headers=headers)
    server.post("/DOE?name=DOE", content=b"DOE")
    server.post("/segment?modality=DOE", content=b"DOE")
    lines = [json.loads(JsonFormatter().format(record)) for record in caplog.records]
    first = next(one for one in lines if one["route"] == "/segment")
    assert (first["event"], first["level"], first["status"]) == ("request", "info", 200)
    assert (first["model"], first["images"]) == ("bright", 1)
    assert first["bytes_received"] == len(image)
    assert first["bytes_sent"] > 0
    assert first["seconds"] >= 0
    assert [one["route"] for one in lines] == ["/segment", "other", "/segment"]
    assert "DOE" not in json.dumps(lines)


def test_the_text_of_an_exception_is_not_logged():
    try:
        raise ValueError("DOE^JANE")
    except ValueError as error:
        record = logging.makeLogRecord({"msg": "failed", "exc_info": (ValueError, error, None)})
    line = JsonFormatter().format(record)
    assert "DOE" not in line
    assert json.loads(line)["error"] == "ValueError"


def test_nothing_is_left_on_the_disk(client, eye, monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    server = client()
    assert server.post(f"{PATH}&output=zip", content=eye).status_code == 200
    assert server.post(PATH, content=b"hello").status_code == 400
    until = time.monotonic() + 10
    while list(tmp_path.iterdir()):
        assert time.monotonic() < until


def test_the_description_is_openapi_with_examples(client):
    described = client().get("/openapi.json").json()
    assert described["openapi"].startswith("3.1")
    segment = described["paths"]["/segment"]["post"]
    assert "image/png" in segment["responses"]["200"]["content"]
    assert "application/octet-stream" in segment["requestBody"]["content"]
    assert {"429", "413", "503"} < set(segment["responses"])
    assert "422" not in segment["responses"]
    names = {one["name"]: one["description"] for one in segment["parameters"]}
    assert all(names.values())
    assert list(described["paths"]["/metrics"]["get"]["responses"]["200"]["content"]) == [
        "text/plain"
    ]
    infer = described["paths"]["/v2/models/{name}/infer"]["post"]
    example = infer["requestBody"]["content"]["application/json"]["example"]
    assert read_request(json.dumps(example).encode()).inputs["images"].shape == (1, 2, 2)
    assert described["components"]["schemas"]["Error"]["required"] == ["error"]
