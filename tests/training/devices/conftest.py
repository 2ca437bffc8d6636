"""What tests of several devices share: a run of `several_devices.py` in a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import pytest

SCRIPT = Path(__file__).with_name("several_devices.py")


@pytest.fixture(scope="module")
def run_on_two_devices(tmp_path_factory):
    """`run_on_two_devices(*arguments)`: what the script found, with arguments after its output."""

    def run(*arguments):
        backend = keras.backend.backend()
        output = tmp_path_factory.mktemp("devices") / "result.json"
        command, environment = [sys.executable], {"KERAS_BACKEND": backend, "OMP_NUM_THREADS": "1"}
        if backend == "torch":
            command += ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
        if backend == "jax":
            environment["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2"
        done = subprocess.run(
            [*command, SCRIPT, output, *arguments],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, done.stderr[-4000:]
        result = json.loads(output.read_text(encoding="utf-8"))
        assert result["count"] == 2
        return result

    return run
