"""Nothing is sent: what libraries of ours would tell their makers."""

import importlib.util
import os
import socket
import subprocess
import sys

import keras
import pytest

from tests.privacy.conftest import connections

# In a program of its own, which watches itself and the programs that it starts.
PROGRAM = """
import os, sys

def watch(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "urllib.Request"):
        with open("connections", "a") as file:
            file.write(event)

sys.addaudithook(watch)

import numpy
from keras_espmedsam._startup import import_runtime

openvino = import_runtime("openvino")
model = openvino.convert_model("model.onnx")
values = numpy.array([-2.0, 3.0], "float32")
print(openvino.compile_model(model, "CPU")(values)[0].tolist())
assert sys.modules.get("openvino_telemetry") is None
"""


def test_connections_are_seen():
    with connections() as found, socket.socket() as one:
        one.connect_ex(("127.0.0.1", 9))
    assert [event for event, _ in found] == ["socket.connect"]
    with connections() as found, pytest.raises(OSError):
        socket.getaddrinfo("nowhere.invalid", 443)
    assert [event for event, _ in found] == ["socket.getaddrinfo"]


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="it needs no backend")
@pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="it is not installed")
def test_openvino_connects_to_nothing_and_keeps_no_number_of_the_machine(home, monkeypatch):
    onnx = pytest.importorskip("onnx")
    x, y = (onnx.helper.make_tensor_value_info(name, 1, [2]) for name in "xy")
    node = onnx.helper.make_node("Relu", ["x"], ["y"])
    graph = onnx.helper.make_graph([node], "graph", [x], [y])
    opset = [onnx.helper.make_opsetid("", 17)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=8), "model.onnx")
    # Where one is set, it keeps silent by itself.
    for name in ("CI", "TF_BUILD", "JENKINS_URL"):
        monkeypatch.delenv(name, raising=False)
    found = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stderr
    assert found.stdout.splitlines()[-1] == "[0.0, 3.0]"
    assert not os.path.exists("connections") and not (home.parent / "intel").exists()
