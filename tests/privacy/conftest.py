"""A user with a name and a home, a small preset, and the commands with all that they print."""

import contextlib
import getpass
import os
import platform
import socket
import sys
import types
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_espmedsam as kem
from keras_espmedsam.cli.app import app
from keras_espmedsam.training.run import learning_curves
from tests.privacy import planted_files

HOST, USER, HOME = "host4711planted", "user4711planted", "home4711planted"
IDENTITY = (HOST, USER, HOME)
MODALITIES = ["fundus", "xray"]


@pytest.fixture(scope="session")
def preset(tmp_path_factory):
    """The folder of a preset of one convolution, which compiles fast."""
    folder = tmp_path_factory.mktemp("preset") / "small"
    small_segmenter().save_to_preset(str(folder))
    return folder


def small_segmenter():
    models = kem.models
    image = keras.Input((32, 32, 3))
    encoder = keras.Model(image, keras.layers.Conv2D(8, 16, strides=16)(image))
    backbone = models.ESPMedSAMBackbone(
        encoder,
        modalities=MODALITIES,
        transformer_depth=1,
        transformer_num_heads=1,
        transformer_mlp_dim=8,
    )
    converter = models.ESPMedSAMImageConverter(image_size=(32, 32))
    preprocessor = models.ESPMedSAMImageSegmenterPreprocessor(converter)
    return models.ESPMedSAMImageSegmenter(backbone, preprocessor)


@pytest.fixture
def home(tmp_path, monkeypatch):
    """The working folder, in the home of a user; what names user, home and host is planted."""
    folder = tmp_path / HOME / "work"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    for name, value in (
        *(("HOME", str(folder.parent)), ("USERPROFILE", str(folder.parent))),
        *(("USER", USER), ("LOGNAME", USER), ("USERNAME", USER), ("HOSTNAME", HOST)),
    ):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(socket, "gethostname", lambda: HOST)
    monkeypatch.setattr(socket, "getfqdn", lambda name="": HOST)
    monkeypatch.setattr(platform, "node", lambda: HOST)
    monkeypatch.setattr(getpass, "getuser", lambda: USER)
    return folder


@pytest.fixture
def images(home):
    """dict of format to path, relative to the working folder."""
    return {
        name: path.relative_to(home)
        for name, path in planted_files.plant_images(home / "images").items()
    }


@pytest.fixture
def index(home, images):
    """An index of all formats, the masks of the same formats, for training and testing."""
    mask = np.zeros((32, 40, 3), "uint8")
    mask[8:24, 8:24] = 255
    masks = planted_files.plant_images(home / "labels", mask, "mask")
    lines = ["split,modality,dataset,image,mask"]
    for i, (name, path) in enumerate(images.items()):
        if not name.startswith("nifti"):  # Of two slices, which is no image with a mask.
            mask_path = masks[name].relative_to(home).as_posix()
            for split in ("train", "val") if i < 4 else ("test", "train"):
                name = MODALITIES[i % 2]
                lines.append(f"{split},{name},{name}s,{path.as_posix()},{mask_path}")
    (home / "index.csv").write_text("\n".join(lines) + "\n")
    return Path("index.csv")


_connections = None


def _watch(event, arguments):
    """Python's own hook, which cannot be taken away again."""
    if _connections is None or event not in ("socket.connect", "socket.getaddrinfo"):
        return
    if event == "socket.getaddrinfo" or isinstance(arguments[1], tuple):  # Not a socket file.
        _connections.append((event, arguments))


sys.addaudithook(_watch)


@contextlib.contextmanager
def connections():
    """A list of what this program looks up and connects to meanwhile."""
    global _connections
    _connections = found = []
    try:
        yield found
    finally:
        _connections = None


@pytest.fixture
def run(home, capfd, monkeypatch):
    """`run(*arguments)`: a command's exit code, what it printed, in C too, and connected to."""
    monkeypatch.setenv("COLUMNS", "200")

    def command(*arguments):
        capfd.readouterr()
        code = 0
        with connections() as found:
            try:
                app([str(one) for one in arguments], standalone_mode=True)
            except SystemExit as end:
                code = end.code
        printed = "".join(capfd.readouterr())
        return types.SimpleNamespace(code=code, printed=printed, connections=found)

    return command


@pytest.fixture
def _undrawn(monkeypatch):
    monkeypatch.setattr(learning_curves, "_draw", lambda *_: None)


@pytest.fixture
def nothing_of(home):
    """`nothing_of(result)`: a command printed, wrote and sent nothing of what must not travel.

    Inputs are left out: what lies in `images` and `labels`.
    """

    words = (planted_files.WORD, planted_files.NUMBER, *IDENTITY, *real_host())

    def check(result):
        assert result.connections == []
        shown = planted_files.found_in(result.printed.encode(errors="surrogateescape"), words)
        assert not shown, shown
        inputs = [path for name in ("images", "labels") for path in (home / name).rglob("*")]
        found = planted_files.search(home.parent, words, inputs)
        # The home folder itself bears its name, not what lies in it.
        assert not found, found

    return check


def real_host():
    """The machine's own name, where it tells anything; C code asks for it by itself."""
    name = os.uname().nodename if hasattr(os, "uname") else ""
    return [name] if len(name) > 7 and not name.startswith("localhost") else []
