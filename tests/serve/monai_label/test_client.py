"""The client of MONAI Label, as its plugin for 3D Slicer has it, against a server.

It is not among the development tools, because its package needs PyTorch, MONAI and more. In an
environment of its own, `pip install --no-deps monailabel==0.8.5` and `pip install requests` are
enough; name its Python in the variable `ESPMEDSAM_MONAI_LABEL_PYTHON`.
"""

import json
import os
import pathlib
import subprocess
import threading
import time

import pytest
import uvicorn

from keras_espmedsam.serve import ServedModel, ServerSettings, create_app

PYTHON = os.environ.get("ESPMEDSAM_MONAI_LABEL_PYTHON")
TOKEN = "0123456789abcdef+/="


@pytest.mark.skipif(not PYTHON, reason="ESPMEDSAM_MONAI_LABEL_PYTHON does not name a Python")
@pytest.mark.parametrize("token", [None, TOKEN])
def test_the_client_of_monai_label_is_served(judged, eye, tmp_path, token):
    (tmp_path / "studies").mkdir()
    image = tmp_path / "studies" / "DOE.png"
    image.write_bytes(eye)
    settings = ServerSettings(token, studies=tmp_path / "studies")
    app = create_app([ServedModel("bright", judged)], settings)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until = time.monotonic() + 20
    while not server.started:
        assert time.monotonic() < until
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    script = pathlib.Path(__file__).with_name("client_calls.py")
    command = [PYTHON, "-W", "ignore", script, f"http://127.0.0.1:{port}", token or "", image]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    server.should_exit = True
    thread.join()
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["enabled"], found["valid"]) == (token is not None, True)
    assert found["info"]["models"]["bright"]["labels"] == {"lungs": 1, "vessels": 2, "disc": 3}
    name, params, content = found["inferred"]
    assert (name, params["label_names"]["disc"]) == ("label.nrrd", 3)
    assert content[-24:] == [0, 0, 0, 1, 1, 1] * 4
    assert found["saved"] == {"image": found["id"], "label": found["id"]}
    label = found["datastore"]["objects"][found["id"]]["labels"]["final"]
    assert (label["ext"], label["info"]["client_id"]) == (".nrrd", "tester")
    assert found["downloaded"] == content
    assert found["session"]["expiry"] == 3600
    assert found["in_session"][0] == found["of_file"][0] == "label.png"
    assert found["uploaded"] == {"image": "My scan"}
    assert found["trains"] is False
    assert "There is no model 'dull'" in found["refused"]
