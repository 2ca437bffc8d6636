"""A server as a process of its own, on loopback."""

import concurrent.futures
import contextlib
import http.client
import json
import pathlib
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
import tritonclient.http as triton

from keras_espmedsam.errors import InputError
from keras_espmedsam.serve.server import listening

REPOSITORY = pathlib.Path(__file__).parents[2]
TOKEN = "0123456789abcdef"
SCRIPT = f"""
import itertools
import sys
import threading
from keras_espmedsam.serve import ServedModel, ServerSettings, run_server
from tests.serve.conftest import Judged

segmenter = Judged()
calls, gate = itertools.count(), threading.Event()
# The first call is the server's own; the others wait until stdin is closed.
segmenter.during = lambda: next(calls) and gate.wait()
threading.Thread(target=lambda: [sys.stdin.read(), gate.set()], daemon=True).start()
settings = ServerSettings(token="{TOKEN}", queue_size=9, batch_size=1, max_bytes=1_000_000)
models = [ServedModel("bright", segmenter)]
run_server(models, settings, port=0, tell=lambda line: print(line, flush=True))
"""
HEADERS = {"Authorization": f"Bearer {TOKEN}"}


@contextlib.contextmanager
def process(stdin=subprocess.DEVNULL):
    """A server that is ready, as a process with its `port`."""
    started = subprocess.Popen(
        [sys.executable, "-c", SCRIPT],
        cwd=REPOSITORY,
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        line = started.stdout.readline()
        assert line.startswith("Listening on http://127.0.0.1:"), started.stderr.read()
        started.port = int(line.rpartition(":")[2])
        until = time.monotonic() + 20
        while request(started, "GET", "/health")[0] != 200:
            assert time.monotonic() < until
            time.sleep(0.02)
        yield started
    finally:
        started.kill()
        started.communicate()


@pytest.fixture(scope="module")
def server():
    with process() as started:
        yield started


def request(server, method, path, body=None, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    try:
        connection.request(method, path, body, {**HEADERS, **headers})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def accepted(server):
    text = request(server, "GET", "/metrics")[1].decode()
    line = next(one for one in text.splitlines() if one.startswith("espmedsam_accepted_requests "))
    return float(line.split()[1])


def test_the_client_of_triton_is_served(server):
    client = triton.InferenceServerClient(f"127.0.0.1:{server.port}")
    assert client.is_server_live(headers=dict(HEADERS))
    assert client.is_server_ready(headers=dict(HEADERS))
    assert client.is_model_ready("bright", headers=dict(HEADERS))
    assert not client.is_model_ready("dull", headers=dict(HEADERS))
    assert client.get_server_metadata(headers=dict(HEADERS))["name"] == "keras-espmedsam"
    metadata = client.get_model_metadata("bright", headers=dict(HEADERS))
    assert [one["name"] for one in metadata["outputs"]][:2] == ["masks", "probabilities"]
    images = np.zeros((1, 5, 4, 3), "uint8")
    images[:, 2:] = 200
    tensor = triton.InferInput("images", list(images.shape), "UINT8")
    names = triton.InferInput("modalities", [1], "BYTES")
    expected = np.zeros((1, 5, 4, 1), bool)
    expected[:, 2:] = True
    for binary in (True, False):
        tensor.set_data_from_numpy(images, binary_data=binary)
        names.set_data_from_numpy(np.array(["xray"], object), binary_data=binary)
        wanted = [triton.InferRequestedOutput("masks", binary_data=binary)]
        for outputs in (wanted, None):
            found = client.infer(
                "bright", [tensor, names], outputs=outputs, request_id="7", headers=dict(HEADERS)
            )
            assert found.get_response()["id"] == "7"
            np.testing.assert_array_equal(found.as_numpy("masks"), expected)
            if outputs is None:
                assert found.as_numpy("probabilities").dtype == np.float32
                assert found.as_numpy("targets").tolist() in ([b"lungs"], ["lungs"])
                assert found.as_numpy("quality").tolist() == [[0.75]]
                assert found.as_numpy("scope_score").tolist() == [1.5]
                assert found.as_numpy("in_scope").tolist() == [0]
    parameters = {"threshold": 0.9, "scales": "0.75,1"}
    found = client.infer("bright", [tensor, names], parameters=parameters, headers=dict(HEADERS))
    assert not found.as_numpy("masks").any()
    with pytest.raises(triton.InferenceServerException, match="did you mean threshold"):
        client.infer("bright", [tensor, names], parameters={"treshold": 0.9}, headers=dict(HEADERS))
    client.close()


def test_sigterm_loses_no_accepted_request(eye):
    def send(_):
        return request(server, "POST", "/segment?modality=xray", eye, **{"X-Patient": "DOE"})

    with process(subprocess.PIPE) as server, concurrent.futures.ThreadPoolExecutor(9) as pool:
        answers = [pool.submit(send, number) for number in range(9)]
        until = time.monotonic() + 10
        while accepted(server) < 9:
            assert time.monotonic() < until
        # It has more bytes than the buffers of a connection, and its answer arrives all the same.
        assert request(server, "POST", "/segment", bytes(900_000))[0] == 429
        server.send_signal(signal.SIGTERM)
        server.stdin.close()
        server.stdin = None
        assert [one.result()[0] for one in answers] == [200] * 9
        log = server.communicate(timeout=20)[1]
    assert server.returncode in (0, -signal.SIGTERM)
    lines = [json.loads(line) for line in log.splitlines()]
    assert sum(one.get("route") == "/segment" and one["status"] == 200 for one in lines) == 9
    assert "DOE" not in log
    with pytest.raises(ConnectionRefusedError):
        send(None)


def test_what_is_no_http_does_not_stop_it(server):
    for noise in (
        b"\0" * 100,
        b"GET / HTTP/9\r\n\r\n",
        b"POST /segment HTTP/1.1\r\n\r\n",
        b"{}\r\n",
    ):
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
            connection.sendall(noise)
            connection.shutdown(socket.SHUT_WR)
            answer = connection.recv(1000)
            assert not answer or answer.startswith(b"HTTP/1.1 4"), answer
    assert request(server, "GET", "/health")[0] == 200


def test_a_port_that_is_taken_is_told():
    with listening("127.0.0.1", 0) as taken:
        with pytest.raises(InputError, match="Give another --port"):
            listening("127.0.0.1", taken.getsockname()[1])
    with pytest.raises(InputError, match=r"cannot listen on the host 203\.0\.113\.7"):
        listening("203.0.113.7", 0)
