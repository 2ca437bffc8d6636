import builtins
import os
import pickle

import numpy as np
import pytest

from keras_espmedsam.converters import read_checkpoint
from keras_espmedsam.errors import InputError

torch = pytest.importorskip("torch")
safetensors_torch = pytest.importorskip("safetensors.torch")


def one_sentence(error):
    message = str(error.value)
    assert "\n" not in message and message.endswith(".")
    return message


@pytest.mark.parametrize("suffix", [".pth", ".pt"])
@pytest.mark.parametrize("wrapper", [None, "state_dict", "model", "model_state_dict"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_torch_file(tmp_path, suffix, wrapper, prefix):
    weights = {
        f"{prefix}fc.weight": torch.arange(6.0).reshape(2, 3),
        f"{prefix}half": torch.tensor([1.5], dtype=torch.float16),
        f"{prefix}brain": torch.tensor([-2.5], dtype=torch.bfloat16),
        f"{prefix}count": torch.tensor(7),
    }
    path = tmp_path / f"weights{suffix}"
    torch.save({wrapper: weights, "epoch": 3} if wrapper else weights, path)

    arrays = read_checkpoint(path)

    assert list(arrays) == ["fc.weight", "half", "brain", "count"]
    np.testing.assert_array_equal(arrays["fc.weight"], [[0, 1, 2], [3, 4, 5]])
    assert arrays["half"].dtype == arrays["brain"].dtype == np.float32
    assert arrays["half"][0] == 1.5 and arrays["brain"][0] == -2.5
    assert arrays["count"].dtype == np.int64 and arrays["count"] == 7


def test_legacy_torch_file(tmp_path):
    path = tmp_path / "old.pth"
    torch.save({"a": torch.ones(2)}, path, _use_new_zipfile_serialization=False)
    np.testing.assert_array_equal(read_checkpoint(path)["a"], [1, 1])


def test_safetensors_file_without_torch(tmp_path, monkeypatch):
    path = tmp_path / "weights.safetensors"
    safetensors_torch.save_file(
        {
            "module.a": torch.tensor([0.5, 2], dtype=torch.bfloat16),
            "module.b": torch.tensor([3.0], dtype=torch.float16),
            "module.n": torch.tensor(4),
        },
        path,
    )
    block_import(monkeypatch, "torch")

    arrays = read_checkpoint(path)

    assert {name: array.tolist() for name, array in arrays.items()} == {
        "a": [0.5, 2],
        "b": [3],
        "n": 4,
    }
    assert all(arrays[name].dtype == np.float32 for name in "ab")


def test_prefix_of_some_names_only_is_kept(tmp_path):
    path = tmp_path / "weights.pth"
    torch.save({"module.a": torch.ones(1), "b": torch.ones(1)}, path)
    assert set(read_checkpoint(path)) == {"module.a", "b"}


def block_import(monkeypatch, blocked):
    """Let `import blocked` fail, also where it has been imported before."""
    real = builtins.__import__

    def guarded(name, *args, **kwargs):
        if name.split(".")[0] == blocked:
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", guarded)
    monkeypatch.setitem(__import__("sys").modules, blocked, None)


@pytest.mark.parametrize(("module", "name"), [("torch", "a.pth"), ("safetensors", "a.safetensors")])
def test_missing_library_names_the_extra(tmp_path, monkeypatch, module, name):
    path = tmp_path / name
    path.write_bytes(b"PK12")
    block_import(monkeypatch, module)
    with pytest.raises(InputError, match=r"keras-espmedsam\[checkpoints\]"):
        read_checkpoint(path)


class Malicious:
    """Unpickled without care, this writes a file."""

    def __init__(self, target):
        self.target = str(target)

    def __reduce__(self):
        return (open, (self.target, "w"))


@pytest.mark.parametrize("kind", ["zip", "legacy", "bare pickle"])
def test_malicious_pickle_is_refused_and_not_run(tmp_path, kind):
    path, target = tmp_path / "evil.pth", tmp_path / "was_run"
    content = {"state_dict": {"a": torch.ones(1)}, "x": Malicious(target)}
    if kind == "bare pickle":
        path.write_bytes(pickle.dumps(content["x"], protocol=2))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=kind == "zip")
    # The file is dangerous: an unsafe load would have run it.
    if kind == "bare pickle":
        pickle.loads(path.read_bytes()).close()
        assert target.exists()
        os.remove(target)

    with pytest.raises(InputError) as error:
        read_checkpoint(path)

    assert "not loaded" in one_sentence(error) and "open" in str(error.value)
    assert not target.exists()


def test_whole_module_is_refused(tmp_path):
    path = tmp_path / "module.pt"
    torch.save(torch.nn.Linear(2, 2), path)
    with pytest.raises(InputError) as error:
        read_checkpoint(path)
    assert "torch.nn.modules.linear.Linear" in one_sentence(error)


def test_torchscript_is_refused(tmp_path):
    path = tmp_path / "script.pt"
    torch.jit.script(torch.nn.Linear(2, 2)).save(str(path))
    with pytest.raises(InputError) as error:
        read_checkpoint(path)
    assert "TorchScript" in one_sentence(error)


@pytest.mark.parametrize("name", ["a.pth", "a.pt", "a.safetensors"])
def test_empty_file(tmp_path, name):
    path = tmp_path / name
    path.touch()
    with pytest.raises(InputError) as error:
        read_checkpoint(path)
    assert "is empty" in one_sentence(error)


@pytest.mark.parametrize("keep", [2, 10, 60, 0.5, 0.99])
@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_truncated_file(tmp_path, kind, keep):
    path = tmp_path / ("a.safetensors" if kind == "safetensors" else "a.pth")
    weights = {"a": torch.arange(1000.0)}
    if kind == "safetensors":
        safetensors_torch.save_file(weights, path)
    else:
        torch.save(weights, path, _use_new_zipfile_serialization=kind == "zip")
    whole = path.read_bytes()
    path.write_bytes(whole[: keep if keep > 1 else int(len(whole) * keep)])
    with pytest.raises(InputError) as error:
        read_checkpoint(path)
    assert "is damaged or" in one_sentence(error)


@pytest.mark.parametrize("content", [b"hello there, this is text", b"\x89PNG\r\n\x1a\n", b"{}"])
def test_other_file_named_pth(tmp_path, content):
    path = tmp_path / "a.pth"
    path.write_bytes(content)
    with pytest.raises(InputError) as error:
        read_checkpoint(path)
    assert "is not a PyTorch checkpoint" in one_sentence(error)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (lambda: torch.ones(3), "holds a Tensor"),
        (lambda: [torch.ones(3)], "holds a list"),
        (lambda: {}, "holds no tensors"),
        (lambda: {"a": torch.ones(1), "epoch": 3}, "'epoch' of type int"),
        (lambda: {"a": torch.ones(2, 2).to_sparse()}, "not a plain array"),
    ],
)
def test_contents_that_are_no_state_dict(tmp_path, content, says):
    path = tmp_path / "a.pth"
    torch.save(content(), path)
    with pytest.raises(InputError) as error:
        read_checkpoint(path)
    assert says in one_sentence(error)


def test_paths_that_cannot_be_read(tmp_path):
    (tmp_path / "folder.pth").mkdir()
    for path, says in (
        (tmp_path / "absent.pth", "does not exist"),
        (tmp_path / "folder.pth", "cannot be opened"),
        (tmp_path / "weights.h5", "expected a .pth, .pt or .safetensors file"),
    ):
        with pytest.raises(InputError) as error:
            read_checkpoint(path)
        assert says in one_sentence(error)


def test_a_checkpoint_that_holds_itself_is_refused(tmp_path):
    content = {}
    content["model"] = content
    other = {"state_dict": {"model": content}}
    for one in (content, other):
        torch.save(one, tmp_path / "a.pth")
        with pytest.raises(InputError, match="holds itself, or a state dict more than 8 levels"):
            read_checkpoint(tmp_path / "a.pth")


def test_weights_some_levels_deep_are_found(tmp_path):
    content = {"w": torch.ones(2)}
    for name in ("model", "state_dict", "model_state_dict", "model"):
        content = {name: content, "epoch": 3}
    torch.save(content, tmp_path / "a.pth")
    assert read_checkpoint(tmp_path / "a.pth")["w"].tolist() == [1, 1]


def test_a_tensor_that_asks_for_any_memory_is_refused(tmp_path):
    torch.save({"w": torch.ones(1).expand(10**6, 10**6)}, tmp_path / "a.pth")
    assert (tmp_path / "a.pth").stat().st_size < 5000
    with pytest.raises(InputError, match="made to fill the memory"):
        read_checkpoint(tmp_path / "a.pth")


def test_tied_weights_are_read(tmp_path):
    shared = torch.arange(1000.0)
    torch.save({f"w{i}": shared for i in range(40)}, tmp_path / "a.pth")
    arrays = read_checkpoint(tmp_path / "a.pth")
    assert len(arrays) == 40 and all(array.sum() == 499_500 for array in arrays.values())


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({1: torch.ones(1)}, "holds 1 among the names"),
        ({("a",): torch.ones(1)}, r"holds \('a',\) among the names"),
        ({"x" * 10**5: torch.ones(1)}, "names a tensor xxx.*with 100,000 characters"),
        ({"\x1b[2J": 1}, r"holds '\\x1b\[2J' of type int"),
        ({"a" * 10**6: "b" * 10**6}, "of type str among its tensors"),
        ([torch.ones(1)], "holds a list"),
        (torch.ones(1), "holds a Tensor"),
        ({}, "holds no tensors"),
    ],
    ids=range(8),
)
def test_names_and_contents_that_are_none(tmp_path, content, says):
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(InputError, match=says) as error:
        read_checkpoint(tmp_path / "a.pth")
    assert str(error.value).isprintable() and len(str(error.value)) < 600


@pytest.mark.parametrize(
    "header",
    [
        b"{",
        b"[]",
        b"\xff" * 8,
        b'{"a":{"dtype":"F32","shape":[1000000000000],"data_offsets":[0,4]}}',
        b'{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}',
        b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,400000000000]}}',
        b'{"a":{"dtype":"NO","shape":[1],"data_offsets":[0,4]}}',
        b"[" * 100_000,
    ],
    ids=range(8),
)
def test_headers_of_safetensors_that_lie(tmp_path, header):
    path = tmp_path / "a.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"\0" * 4)
    with pytest.raises(InputError) as error:
        read_checkpoint(path)
    assert len(str(error.value)) < 600
    path.write_bytes((2**63).to_bytes(8, "little") + header)
    with pytest.raises(InputError):
        read_checkpoint(path)
