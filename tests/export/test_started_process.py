"""The process that writes ends with the one that started it, from its first moment."""

import json
import subprocess
import sys

import pytest

from keras_espmedsam.export import started_process


@pytest.fixture
def job(tmp_path):
    """The file of a job, and the folder that both processes write in."""
    left = tmp_path / "left"
    (left / "inner").mkdir(parents=True)
    path = tmp_path / "job.json"
    path.write_text(json.dumps({"remove": [str(left)]}))
    return path, left


def test_it_ends_with_the_process_that_started_it_and_removes_what_both_wrote(job):
    path, left = job
    # The imports that follow take seconds; here they take a minute.
    code = (
        "import sys, time\n"
        "class Slow:\n"
        "    def find_spec(self, name, *rest):\n"
        "        if name.endswith('other_process'): print('begun', flush=True); time.sleep(60)\n"
        "sys.meta_path.insert(0, Slow())\n"
        "from keras_espmedsam.export.started_process import main\n"
        "assert not {'keras', 'numpy', 'tensorflow'} & set(sys.modules)\n"
        "main()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout.readline() == b"begun\n" and left.exists()
    process.stdin.close()  # As the system does when the first is killed.
    assert process.wait(30) == 1 and not left.exists()


def test_it_does_the_job(job, monkeypatch):
    from keras_espmedsam.export import other_process

    done = []
    monkeypatch.setattr(sys, "argv", ["-c", str(job[0])])
    monkeypatch.setattr(started_process, "_end_with_the_first", done.append)
    monkeypatch.setattr(other_process, "do", done.append)
    started_process.main()
    assert {"remove": [str(job[1])]} in done and [str(job[1])] in done
