"""Train on several devices, by each backend's own means."""

import contextlib
import importlib
import os

import keras

from keras_espmedsam.errors import InputError
from keras_espmedsam.training.devices.sharded_batches import (
    IndivisibleFirst,
    ReplicatedBatches,
    ShardedBatches,
)


def distribute(devices=None):
    """Build, compile and train models on several devices within this context.

    The devices share each batch: on JAX by `keras.distribution.DataParallel` and on TensorFlow by
    `tf.distribute.MirroredStrategy`, in one process per host; on PyTorch by
    `DistributedDataParallel`, in one process per device, started by `torchrun`. See
    docs/how-to/several_devices.md, also for several hosts.

    Args:
        devices: int, the number of devices, or `None` for all. With 1 nothing is distributed.

    Returns:
        Context manager that yields `Devices`.

    Raises:
        InputError: if there are fewer devices, or fewer processes were started.

    Example:
        >>> with kem.training.distribute(1) as devices:
        ...     model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
        ...     model.compile("sgd", "mse")
        ...     devices.prepare(model)
        ...     history = model.fit(np.ones((2, 4)), np.ones((2, 1)), verbose=0)
        >>> devices.count, devices.is_main
        (1, True)

    Source: Keras, TensorFlow and PyTorch, whose means these are.
    """
    if devices is not None and devices < 1:
        raise InputError(f"Received devices={devices}; expected 1 or more.")
    return _STARTS[keras.backend.backend()](devices)


class Devices:
    """The devices that share each batch, from `distribute`; this class itself is a single one.

    Args:
        count: int. Number of devices.
        rank, processes: int. Number of this process, and how many there are. With several, each
            gets its own part of a batch.

    Example:
        >>> with kem.training.distribute(1) as devices:
        ...     devices.rank
        0
    """

    def __init__(self, count=1, rank=0, processes=1):
        self.count = count
        self.rank = rank
        self.processes = processes

    @property
    def is_main(self):
        """Whether this process is the one that writes files and prints."""
        return self.rank == 0

    def prepare(self, model):
        """Prepare a model to train on all devices; repeat after compiling it again.

        Args:
            model: compiled `keras.Model`, built within `distribute`.

        Raises:
            InputError: for options that the backend does not support on several devices.
        """

    def share(self, dataset):
        """Return this process's part of the batches, for training.

        Args:
            dataset: `keras.utils.PyDataset` of whole batches, the same in every process: give
                each the same seed.

        Returns:
            `keras.utils.PyDataset`.

        Raises:
            InputError: for a batch that the devices cannot share evenly.
        """
        if self.count == 1:
            return dataset
        return ShardedBatches(dataset, self.count, self.rank, self.processes)

    def whole(self, dataset):
        """Return batches of any size for validation, all of them in every process.

        Args:
            dataset: `keras.utils.PyDataset`.

        Returns:
            `keras.utils.PyDataset`.
        """
        return dataset

    def callbacks(self):
        """Return callbacks that `fit` needs before all others."""
        return []


# === JAX ===


class _Replicated(keras.distribution.DataParallel):
    """Data parallelism that computes a batch whole on every device if it cannot be shared."""

    def get_data_layout(self, data_shape):
        if data_shape[0] * self.num_processes % self.num_model_replicas == 0:
            return super().get_data_layout(data_shape)
        return keras.distribution.TensorLayout([None] * len(data_shape), self.device_mesh)


class _JaxDevices(Devices):
    def whole(self, dataset):
        return IndivisibleFirst(dataset, self.count)


@contextlib.contextmanager
def _jax(devices):
    import jax

    if "KERAS_DISTRIBUTION_NUM_PROCESSES" in os.environ and not jax.distributed.is_initialized():
        keras.distribution.initialize()
    names = keras.distribution.list_devices()
    hosts = jax.process_count()
    if devices is not None and (devices > len(names) or (hosts > 1 and devices < len(names))):
        raise InputError(
            f"Received devices={devices}, but JAX has {len(names)}: {', '.join(names)}; give that "
            "number (on one host it may be a smaller one), or let JAX have more, on a CPU with "
            f"XLA_FLAGS=--xla_force_host_platform_device_count={devices}."
        )
    names = names[:devices]
    if len(names) == 1:
        yield Devices()
        return
    # Not Keras' own sharding among processes, which takes only tf.data: see `share`.
    distribution = _Replicated(devices=names, auto_shard_dataset=False)
    with distribution.scope():
        yield _JaxDevices(len(names), jax.process_index(), hosts)


# === TensorFlow ===


class _TensorFlowDevices(Devices):
    def whole(self, dataset):
        return ReplicatedBatches(dataset, self.count)

    def prepare(self, model):
        optimizer = model.optimizer
        pattern = getattr(optimizer, "optimizer", optimizer)
        for option in ("gradient_accumulation_steps", "ema_overwrite_frequency"):
            if getattr(pattern, option):
                # Keras updates variables in a branch, where TensorFlow cannot synchronise replicas.
                raise InputError(
                    f"Received {option}={getattr(pattern, option)} for several devices on "
                    "TensorFlow, where Keras cannot do it; leave it out, or use the backend jax "
                    "or torch."
                )
        if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
            # Keras asks only the first replica whether its gradients are finite.
            raise InputError(
                "Received a LossScaleOptimizer, as mixed_float16 brings, for several devices on "
                "TensorFlow, where Keras would notice only an overflow of the first; use "
                "mixed_bfloat16, or the backend jax or torch."
            )


@contextlib.contextmanager
def _tensorflow(devices):
    import tensorflow as tf

    if "TF_CONFIG" in os.environ:
        # With MultiWorkerMirroredStrategy, Keras 3.15 fails on batches that are dicts.
        raise InputError(
            "Received TF_CONFIG, the hosts of a TensorFlow cluster, where Keras cannot train on "
            "batches of images and modalities; use the backend jax or torch, or unset it to "
            "train on this host only."
        )
    found = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    names = [device.name for device in found]
    if (devices or 1) > len(names):
        raise InputError(
            f"Received devices={devices}, but TensorFlow has {len(names)}: {', '.join(names)}; "
            "give that number or fewer."
        )
    names = names[:devices]
    if len(names) == 1:
        yield Devices()
        return
    with tf.distribute.MirroredStrategy(names).scope():
        yield _TensorFlowDevices(len(names))


# === PyTorch ===


class _TorchDevices(Devices):
    def __init__(self, count, rank, replicas, prepared):
        super().__init__(count, rank, count)
        self._replicas = replicas
        self._prepared = prepared

    def prepare(self, model):
        if "call" in vars(model) or "stream_loss" in vars(model):
            return  # Already prepared: trainable variables, too, are looked up in each step.
        make = self._replicas.Replicas
        if hasattr(model, "stream_loss"):
            by_stream = {
                stream: make(model.stream_loss, lambda s=stream: model.stream_variables(s), model)
                for stream in model.streams
            }
            model.stream_loss = lambda stream, *args, **kwargs: by_stream[stream](
                stream, *args, **kwargs
            )
            self._prepared.callback(delattr, model, "stream_loss")
        else:
            model.call = make(model.call, lambda: model.trainable_variables, model)
            self._prepared.callback(delattr, model, "call")

    def callbacks(self):
        return [self._replicas.MeanOfProcesses()]


@contextlib.contextmanager
def _torch(devices):
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    if devices not in (None, processes):
        raise InputError(
            f"Received devices={devices} in one of {processes} processes; on torch start one per "
            f"device: torchrun --nproc-per-node {devices} --no-python espmedsam train ..."
        )
    if processes == 1:
        yield Devices()
        return
    replicas = importlib.import_module("keras_espmedsam.training.devices.torch_replicas")
    rank = replicas.join_processes()
    with contextlib.ExitStack() as prepared:
        yield _TorchDevices(processes, rank, replicas, prepared)


_STARTS = {"jax": _jax, "tensorflow": _tensorflow, "torch": _torch}
