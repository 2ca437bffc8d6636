"""Two devices against one, each backend by its own means, in processes of their own."""

import importlib

import keras
import numpy as np
import pytest

import keras_espmedsam as kem
from keras_espmedsam.errors import InputError
from keras_espmedsam.training.devices.sharded_batches import (
    IndivisibleFirst,
    ReplicatedBatches,
    ShardedBatches,
)

# What one device gives, on every backend; on PyTorch it is computed each time.
ALONE = {
    "loss": [1.1670863, 0.8856341],
    "masks_loss": [0.5273178, 0.5271986],
    "patches_loss": [0.6397687, 0.3584355],
    "masks_dice": [0.1874533, 0.1885791],
    "val_loss": [0.9910869, 0.7520056],
    "val_masks_dice": [0.0228737, 0.0228737],
}


@pytest.fixture(scope="module")
def result(run_on_two_devices):
    return run_on_two_devices()


def test_losses_are_those_of_one_device_with_the_whole_batch(result):
    for name, expected in ALONE.items():
        np.testing.assert_allclose(result["history"][name], expected, rtol=1e-5, err_msg=name)


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="one device as well takes minutes")
def test_one_device_gives_the_losses_and_weights_above(result):
    for name, expected in ALONE.items():
        found = result["history_alone"][name]
        np.testing.assert_allclose(found, expected, rtol=1e-5, err_msg=name)
    for name, expected in result["after_alone"].items():
        np.testing.assert_allclose(result["after"][name], expected, atol=2e-5, err_msg=name)


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="one device as well takes minutes")
def test_a_distiller_has_the_losses_of_one_device(result):
    expected = result["distilled_alone"]
    assert set(expected) == {"loss", "domain_embedding_mse"}
    for name, losses in expected.items():
        assert losses[0] > losses[1] * 1.001
        np.testing.assert_allclose(result["distilled"][name], losses, rtol=1e-5, err_msg=name)
    # Of several targets, of which a device sees some labelled, some taught and some neither.
    expected = result["targets_alone"]
    assert expected["label_patches"] == [0, 0]
    for name, losses in expected.items():
        np.testing.assert_allclose(result["targets"][name], losses, rtol=1e-5, err_msg=name)
    assert len(set(expected["loss"])) == 2


def test_a_modality_that_no_device_sees_stays_bit_for_bit(result):
    """And one that a single device sees moves on both, by the gradient of the whole batch."""
    for number, moves in enumerate((True, True, False)):
        names = [name for name in result["after"] if f"hypernetwork_{number}/" in name]
        assert len(names) == 6
        for name in names:
            assert (result["after"][name] != result["before"][name]) == moves


class Numbers(keras.utils.PyDataset):
    """Batches of the numbers from 0, in these sizes."""

    def __init__(self, *sizes):
        super().__init__()
        self.ends = np.cumsum(sizes)
        self.sizes = sizes
        self.epochs = 0

    @property
    def num_batches(self):
        return len(self.sizes)

    def __getitem__(self, index):
        end = self.ends[index]
        batch = np.arange(end - self.sizes[index], end)
        return {"x": batch, "nested": {"y": -batch}}, batch * 10

    def on_epoch_end(self):
        self.epochs += 1


def test_processes_part_a_batch():
    source = Numbers(4, 8)
    shares = [ShardedBatches(source, 2, rank, 2) for rank in range(2)]
    assert [share.num_batches for share in shares] == [2, 2]
    x, y = shares[1][1]
    assert x["x"].tolist() == [8, 9, 10, 11]
    assert x["nested"]["y"].tolist() == [-8, -9, -10, -11]
    assert y.tolist() == [80, 90, 100, 110]
    assert shares[0][1][1].tolist() == [40, 50, 60, 70]
    # One process for all devices gets all of it.
    assert ShardedBatches(source, 2)[0][1].tolist() == [0, 10, 20, 30]
    shares[0].on_epoch_end()
    assert source.epochs == 1


def test_a_batch_that_cannot_be_parted_is_explained():
    with pytest.raises(InputError, match="batch of 3 samples for 2 devices; give batch sizes"):
        ShardedBatches(Numbers(4, 3), 2)[1]


def test_copies_are_one_whole_batch_per_device():
    source = Numbers(2, 1)
    copies = ReplicatedBatches(source, 3)
    assert copies.num_batches == 2
    x, y = copies[0]
    assert x["x"].tolist() == [0, 1] * 3 and y.tolist() == [0, 10] * 3
    assert copies[1][0]["nested"]["y"].tolist() == [-2] * 3


@pytest.mark.parametrize("sizes", [(4, 4, 3), (4,), (3, 4), (1,)])
def test_validation_sees_every_sample_once_in_batches_the_first_of_which_is_odd(sizes):
    batches = IndivisibleFirst(Numbers(*sizes), 2)
    found = [batches[i][1] for i in range(batches.num_batches)]
    assert sorted(np.concatenate(found) // 10) == list(range(sum(sizes)))
    assert len(found[0]) % 2
    assert all(len(batch) for batch in found)


def test_a_single_device_changes_nothing():
    devices = kem.training.Devices()
    source = Numbers(3)
    assert devices.share(source) is source and devices.whole(source) is source
    assert devices.is_main and devices.callbacks() == []


def test_too_many_devices_are_explained():
    words = {
        "jax": r"devices=99, but JAX has \d+: .*device_count=99",
        "tensorflow": r"devices=99, but TensorFlow has \d+: ",
        "torch": r"devices=99 in one of 1 processes; .*torchrun --nproc-per-node 99",
    }[keras.backend.backend()]
    with pytest.raises(InputError, match=words), kem.training.distribute(99):
        pass
    with pytest.raises(InputError, match="devices=0; expected 1 or more"):
        kem.training.distribute(0)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="the others can")
def test_several_hosts_of_tensorflow_are_refused(monkeypatch):
    monkeypatch.setenv("TF_CONFIG", "{}")
    with pytest.raises(InputError, match="TF_CONFIG"), kem.training.distribute():
        pass


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="the others can")
@pytest.mark.parametrize(
    ("optimizer", "words"),
    [
        (lambda: keras.optimizers.SGD(gradient_accumulation_steps=2), "accumulation_steps=2 for"),
        (lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD()), "mixed_bfloat16"),
    ],
)
def test_what_keras_cannot_do_on_several_devices_is_refused(optimizer, words):
    distribution = importlib.import_module("keras_espmedsam.training.devices.distribution")
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(kem.optimizers.decoupled(optimizer()), "mse")
    with pytest.raises(InputError, match=words):
        distribution._TensorFlowDevices(2).prepare(model)


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="others have one process")
def test_what_only_one_process_has_seen_is_its_own(monkeypatch):
    """A target that none of its images label says nothing about it."""
    replicas = importlib.import_module("keras_espmedsam.training.devices.torch_replicas")
    first = {"loss": 1.0, "dice": 0.5, "dice_cup": float("nan"), "dice_disc": float("nan")}
    second = {"loss": 3.0, "dice": 0.25, "dice_cup": 0.75, "dice_disc": float("nan")}

    def of_both(logs, other):
        def all_reduce(sums):
            for row, name in enumerate(sorted(other)):
                seen = not np.isnan(other[name]) or np.isnan(other["loss"])
                sums[row] += np.array([other[name], 1] if seen else [0, 0])

        monkeypatch.setattr(replicas.distributed, "all_reduce", all_reduce)
        logs = {**logs, "val_dice": 0.125}
        replicas.MeanOfProcesses().on_epoch_end(0, logs)
        return logs

    expected = {"loss": 2, "dice": 0.375, "dice_cup": 0.75, "dice_disc": np.nan, "val_dice": 0.125}
    assert of_both(first, second) == pytest.approx(expected, nan_ok=True)
    assert of_both(second, first) == pytest.approx(expected, nan_ok=True)
    # Of a training that diverges, nothing is hidden.
    assert np.isnan(of_both({**first, "loss": np.nan, "dice": np.nan}, second)["dice"])
