"""What the files of weights hold."""

import os

import h5py
import numpy as np
import pytest

from keras_espmedsam.errors import InputError
from keras_espmedsam.hub.stored_weights import StoredWeights, most_numbers, stored_weights


@pytest.fixture
def file(tmp_path):
    with h5py.File(tmp_path / "model.weights.h5", "w") as file:
        file["layers/dense/vars/0"] = np.ones((4, 3), "float32")
        file["layers/dense/vars/1"] = np.ones(3, "float16")
        file["layers/dense/seed/vars/0"] = np.uint32(1)
        file["layers/empty/vars/0"] = np.zeros((0, 3))
        yield file


def test_arrays_are_counted_and_not_read(file, tmp_path):
    file.close()
    assert stored_weights(tmp_path) == StoredWeights(arrays=4, numbers=16)
    with h5py.File(tmp_path / "task.weights.h5", "w") as head:
        head["vars/0"] = np.ones(100)
    assert stored_weights(tmp_path) == StoredWeights(arrays=4, numbers=16)
    assert most_numbers(tmp_path) > 16_000_000


def test_a_backbone_in_several_files_is_counted_as_one(file, tmp_path):
    file.close()
    os.rename(tmp_path / "model.weights.h5", tmp_path / "model.weights_00000.h5")
    with h5py.File(tmp_path / "model.weights_00001.h5", "w") as second:
        second["layers/other/vars/0"] = np.ones(4)
    assert stored_weights(tmp_path) == StoredWeights(arrays=5, numbers=20)


def test_no_files_are_nothing(tmp_path):
    assert stored_weights(tmp_path) == StoredWeights(0, 0)


def test_links_to_elsewhere_are_refused(file, tmp_path):
    secret = tmp_path / "secret.h5"
    with h5py.File(secret, "w") as other:
        other["vars/0"] = np.ones(3)
    file["layers/dense/vars/2"] = h5py.ExternalLink(str(secret), "/vars/0")
    file.close()
    with pytest.raises(InputError, match="vars/2 in it links to another place"):
        stored_weights(tmp_path)


def test_numbers_in_another_file_are_refused(file, tmp_path):
    (tmp_path / "secret").write_bytes(b"secret" * 4)
    file["layers/dense/vars"].create_dataset(
        "2", (3,), "float32", external=[(str(tmp_path / "secret"), 0, 12)]
    )
    file.close()
    with pytest.raises(InputError, match="vars/2 in it lies in another file"):
        stored_weights(tmp_path)


def test_virtual_arrays_are_refused(file, tmp_path):
    layout = h5py.VirtualLayout((3,), "float32")
    layout[:] = h5py.VirtualSource(tmp_path / "other.h5", "x", (3,))
    file.create_virtual_dataset("layers/dense/vars/2", layout)
    file.close()
    with pytest.raises(InputError, match="lies in another file"):
        stored_weights(tmp_path)


@pytest.mark.parametrize(
    "dtype",
    [np.complex64, [("a", "f4"), ("b", "f4")], "S4", h5py.string_dtype(), h5py.ref_dtype]
    + [h5py.vlen_dtype(np.float32), np.dtype((np.float32, (2,)))],
    ids=str,
)
def test_what_are_no_real_numbers_is_refused(file, tmp_path, dtype):
    """Of complex ones Keras would take a half, without a word."""
    # Not by h5py's outer interface, for which an array of arrays has one dimension more.
    h5py.h5d.create(
        file["layers/dense/vars"].id,
        b"2",
        h5py.h5t.py_create(np.dtype(dtype), logical=True),
        h5py.h5s.create_simple((3,)),
    )
    file.close()
    with pytest.raises(InputError, match="vars/2 in it holds no real numbers"):
        stored_weights(tmp_path)


@pytest.mark.parametrize("dtype", [bool, np.int8, np.uint32, np.float64, "V2"], ids=str)
def test_numbers_of_any_width_are_weights(file, tmp_path, dtype):
    file["layers/dense/vars"].create_dataset("2", (3,), dtype)
    file.close()
    assert stored_weights(tmp_path).arrays == 5


@pytest.mark.parametrize("options", [{"compression": "gzip"}, {"chunks": (1000,)}], ids=str)
def test_a_small_file_of_huge_arrays_is_refused(file, tmp_path, options):
    file.create_dataset("layers/dense/vars/2", (10**11,), "float32", fillvalue=1, **options)
    file.close()
    assert (tmp_path / "model.weights.h5").stat().st_size < 100_000
    with pytest.raises(InputError, match=r"400,000,000,0.. bytes are said to lie in"):
        stored_weights(tmp_path)


def test_groups_that_hold_themselves_end(file, tmp_path):
    file["layers/dense/again"] = file["layers"]
    file.close()
    assert stored_weights(tmp_path).arrays == 4


@pytest.mark.parametrize("keep", [0, 10, 600])
def test_what_is_no_file_of_weights_is_one_sentence(file, tmp_path, keep):
    file.close()
    path = tmp_path / "model.weights.h5"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(InputError, match=r"^The weights .* cannot be used \("):
        stored_weights(tmp_path)
