"""Several processes on PyTorch: `DistributedDataParallel` around what a Keras model computes."""

import atexit
import os
from typing import Any

import keras
import torch
from torch import distributed


def join_processes():
    """Join the processes that `torchrun` started; gives this one's number."""
    if not distributed.is_initialized():
        cuda = torch.cuda.is_available()
        if cuda:
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        distributed.init_process_group("nccl" if cuda else "gloo")
        # Once and for all: processes that have left find no way back.
        atexit.register(distributed.destroy_process_group)
    return distributed.get_rank()


class Replicas:
    """A function of a model that is called through `DistributedDataParallel` while it trains.

    Its hooks average the gradients of the processes while `backward` computes them.

    Args:
        function: whose result leads to the loss; it is called with `training=True`.
        variables: called for the list of `keras.Variable` that `backward` is asked for.
        model: `keras.Model`. What it has besides is taken over from the first process.

    Source: ours.
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
            # The hooks are those of what was trainable at the time.
            frozen = [v.value for v in self.model.variables if not v.value.requires_grad]
            # Static: what of them takes no part, as blocks behind the last feature that is
            # compared, takes none in any step.
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
    """What each process measured of its part becomes the mean of all, in the logs of an epoch.

    So all of them decide alike, such as when to stop. What begins with `val_` was measured of
    everything by each.

    Source: ours.
    """

    def on_epoch_end(self, epoch, logs=None):
        names = [name for name in sorted(logs or {}) if not name.startswith("val_")]
        values = keras.ops.convert_to_tensor([logs[name] for name in names], "float32")
        distributed.all_reduce(values)
        values = values / distributed.get_world_size()
        logs.update(zip(names, values.tolist(), strict=True))
