"""The load on a server without a network: every figure is there, and every request is answered."""

import sys

import pytest

SCRIPT = """
import sys
import time
from keras_espmedsam.serve import ServedModel, ServerSettings, run_server
from tests.serve.conftest import Brightness

settings = ServerSettings(queue_size=int(sys.argv[1]))
segmenter = Brightness()
segmenter.during = lambda: time.sleep(0.02)
models = [ServedModel("bright", segmenter)]
run_server(models, settings, port=0, tell=lambda line: print(line, file=sys.stderr, flush=True))
"""
TARGET = "/segment?modality=xray"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="it reads /proc")
def test_every_request_is_counted(load):
    serve = load("serve")
    body = serve.made_image()
    with serve.server([sys.executable, "-c", SCRIPT, "3"]) as running:
        row = serve.load(running.port, TARGET, body, 2, 10)
        assert (row["clients"], row["requests"], row["failed"]) == (2, 10, 0)
        assert 0 < row["p50_seconds"] <= row["p95_seconds"] <= row["p99_seconds"]
        assert row["per_second"] > 0
        found = serve.memory(running, TARGET, body, 20)
        assert (found["requests"], len(found["resident_mib"])) == (20, 11)
        assert min(found["resident_mib"]) > 10
        found = serve.overload(running.port, TARGET, body, 12)
        assert found["answered"] + found["told_to_come_again"] == 12
        assert found["answered"] >= 3
        assert (found["without_retry_after"], found["afterwards"]) == (0, 200)
        found = serve.stop(running, TARGET, body, 3)
        assert found["answered"] >= found["accepted"] >= 1
        assert found["exit_code"] in (0, -15)
