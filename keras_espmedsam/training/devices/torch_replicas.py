"""Several processes on PyTorch: `DistributedDataParallel` around a Keras model's computation."""

import atexit
import os
from typing import Any

import keras
import torch
from torch import distributed

from keras_espmedsam.metrics.unmeasured import unmeasured


def join_processes():
    """Join the processes that `torchrun` started; return this one's number."""
    if not distributed.is_initialized():
        cuda = torch.cuda.is_available()
        if cuda:
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        distributed.init_process_group("nccl" if cuda else "gloo")
        # Only once: processes that have left cannot join again.
        atexit.register(distributed.destroy_process_group)
    return distributed.get_rank()


class Replicas:
    """Calls a function of a model through `DistributedDataParallel` while it trains.

    Its hooks average the gradients of the processes while `backward` computes them.

    Args:
        function: its result leads to the loss; it is called with `training=True`.
        variables: called for the list of `keras.Variable` that `backward` computes gradients of.
        model: `keras.Model`. Its other state is copied from the first process.
    """

    def __init__(self, function, variables, model):
        self.function = function
        self.variables = variables
        self.model = model
        self._known: list[int] | None = None
        self._wrapped: Any = None

    def __call__(self, *args, **kwargs):
        if not kwargs.get("training"):
            return self.function(*args, **kwargs)
        trained = [variable.value for variable in self.variables()]
        known = [id(value) for value in trained]
        if known != self._known:
            # The hooks are registered for what was trainable at the time.
            frozen = [v.value for v in self.model.variables if not v.value.requires_grad]
            # Static: a parameter that takes no part in one step, such as those of blocks after
            # the last compared feature, takes none in any step.
            self._wrapped = torch.nn.parallel.DistributedDataParallel(
                _Module(self.function, [*trained, *frozen]), static_graph=True
            )
            self._known = known
        return self._wrapped(*args, **kwargs)


class _Module(torch.nn.Module):
    def __init__(self, function, parameters):
        super().__init__()
        self.own = torch.nn.ParameterList(parameters)
        self.function = function

    def forward(self, *args, **kwargs):
        return self.function(*args, **kwargs)


class MeanOfProcesses(keras.callbacks.Callback):
    """Averages each process's results over all processes, in the logs of an epoch.

    So all processes make the same decisions, such as when to stop. Values that begin with `val_`
    are computed on all data by each process. Of a target that not all processes have seen, the mean
    is that of those that have.
    """

    def on_epoch_end(self, epoch, logs=None):
        names = [name for name in sorted(logs or {}) if not name.startswith("val_")]
        missing = unmeasured({name: float(logs[name]) for name in names})
        sums = [[0.0, 0.0] if name in missing else [logs[name], 1.0] for name in names]
        sums = keras.ops.convert_to_tensor(sums, "float32")
        distributed.all_reduce(sums)
        values = (sums[:, 0] / sums[:, 1]).tolist()  # 0 / 0 is NaN.
        logs.update(zip(names, values, strict=True))
