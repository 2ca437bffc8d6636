"""Recorded programs give what their functions give, for inputs that they were not recorded with."""

import weakref

import keras
import numpy as np
import pytest

if keras.backend.backend() != "torch":
    pytest.skip("The other backends trace by themselves.", allow_module_level=True)

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from keras_espmedsam.models.torch_recording import record

WEIGHT = torch.nn.Parameter(torch.arange(6.0).reshape(2, 3))
BUFFER = torch.tensor([3.0, 1.0, 2.0])
NUMBERS = np.array([0, 2])


@pytest.fixture(autouse=True)
def without_gradient():
    with torch.no_grad():
        yield


def rows(seed, count=2):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(2, 3, generator=generator) for _ in range(count)]


class Operations(TorchDispatchMode):
    """What is run while it is entered."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.append(str(func).split(".")[1])
        return func(*args, **(kwargs or {}))


def _added_to_zeros(inputs):
    sums = torch.zeros(2, 3)
    shown = sums.view(3, 2)
    doubled = sums * 2
    sums.add_(inputs[0])
    return [sums, shown * 2, doubled]


def _filled(inputs):
    x = inputs[0].clone()
    x[:, 1] = torch.arange(2.0)
    x[0] += 1
    return x


REPEATABLE = {
    "arithmetic": lambda inputs: (inputs[0] - 0.5 * inputs[1]).relu(),
    "weights": lambda inputs: inputs[0] @ WEIGHT.T + WEIGHT.sum(),
    "views of weights": lambda inputs: inputs[0] * WEIGHT.flip(0)[:, ::2].mean() + WEIGHT.T[1, 0],
    "buffers": lambda inputs: inputs[0] * BUFFER + BUFFER[1:].sum(),
    "constants": lambda inputs: inputs[0] + torch.arange(3) + torch.tensor(2.0),
    "NumPy's": lambda inputs: inputs[0][:, torch.as_tensor(NUMBERS)] * np.float32(3),
    "a value of a constant": lambda inputs: inputs[0] * float(torch.arange(4).sum()),
    "a constant's array": lambda inputs: inputs[0] * np.asarray(torch.arange(3)).sum(),
    "several outputs": lambda inputs: {"b": inputs[0].split(1, 1), "a": inputs[1].max(1)[0]},
    "none of it needed": lambda inputs: (inputs[0].exp(), inputs[1])[1],
    "a constant alone": lambda inputs: [torch.ones(2), inputs[0]],
    "indices of the inputs": lambda inputs: BUFFER[(inputs[0] > 0).long()],
    "a mask that picks no shape": lambda inputs: torch.where(inputs[0] > 0, inputs[1], 0.0),
    "written into its own": _added_to_zeros,
    "written in part": _filled,
    "not finite": lambda inputs: inputs[0].clamp(max=float("inf")) + float("-inf") * 0.0 + 1,
    "a type": lambda inputs: inputs[0].to(torch.float64).mean(dtype=torch.float32),
}


@pytest.mark.parametrize("name", REPEATABLE)
def test_repeats_for_other_inputs(name):
    function = REPEATABLE[name]
    outputs, program = record(function, rows(0), [WEIGHT])
    _same(outputs, function(rows(0)))
    for seed in (1, 2, 1):
        _same(program(rows(seed)), function(rows(seed)))


def _same(found, expected):
    keras.tree.assert_same_structure(found, expected)
    for one, other in zip(keras.tree.flatten(found), keras.tree.flatten(expected), strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one.numpy(), other.numpy())


def _branches(inputs):
    return inputs[0] if inputs[0].sum() > 0 else -inputs[0]


REFUSED = {
    "a branch": _branches,
    "a number": lambda inputs: inputs[0] * float(inputs[1][0, 0]),
    "an array": lambda inputs: inputs[0] * inputs[1].numpy().mean(),
    "an array by NumPy": lambda inputs: inputs[0] * np.asarray(inputs[1]).mean(),
    "a list": lambda inputs: inputs[0] * inputs[1].tolist()[0][0],
    "a comparison": lambda inputs: inputs[0] * (2 if torch.equal(*inputs) else 3),
    "a mask that picks": lambda inputs: inputs[0][inputs[0] > 0].sum(),
    "nonzero": lambda inputs: inputs[0].relu().nonzero().sum(),
    "a weight's number": lambda inputs: inputs[0] * float(WEIGHT[1, 1]),
    "a buffer's array": lambda inputs: inputs[0] * BUFFER.numpy().mean(),
    "written into an input": lambda inputs: inputs[0].add_(1),
    "written into a weight": lambda inputs: inputs[0] + WEIGHT.mul_(1),
    "written into a buffer": lambda inputs: inputs[0] + BUFFER.view(3).mul_(1),
    "written into NumPy's": lambda inputs: torch.as_tensor(np.zeros((2, 3))).add_(inputs[0]),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_depends_on_values_is_not_repeated(name):
    function = REFUSED[name]
    outputs, program = record(function, rows(0), [WEIGHT])
    assert program is None
    if "an input" not in name:
        _same(outputs, function(rows(0)))


def test_an_error_is_the_functions_own():
    def fails(inputs):
        raise ArithmeticError("of its own")

    with pytest.raises(ArithmeticError, match="of its own"):
        record(fails, rows(0), [])


def test_weights_are_used_by_reference():
    weight = torch.nn.Parameter(torch.ones(3, 2))

    def function(inputs):
        return inputs[0] @ weight + weight.T[0, 1]

    _, program = record(function, rows(0), [weight])
    for change in (
        weight.mul_,
        weight.data.add_,
        lambda value: weight.copy_(value * torch.ones(2)),
    ):
        change(3.0)
        _same(program(rows(1)), function(rows(1)))


def test_only_what_depends_on_the_inputs_is_run():
    def function(inputs):
        indices = torch.arange(6).reshape(2, 3).flip(0) % 3
        return inputs[0].gather(1, indices) * WEIGHT.T[:, 1] * WEIGHT.T.reshape(2, 3)

    inputs = rows(0)
    _, program = record(function, inputs, [WEIGHT])
    with Operations() as run:
        program(inputs)
    # The last is no view but a copy: computed anew, as weights change.
    assert run.names == ["gather", "mul", "clone", "_unsafe_view", "mul"]


def test_random_numbers_are_drawn_anew():
    _, program = record(lambda inputs: inputs[0] * torch.rand(2, 3), rows(0), [])
    assert not torch.equal(program(rows(0)), program(rows(0)))


def test_one_tensor_as_two_inputs():
    x = rows(0, 1)[0]
    _, program = record(lambda inputs: inputs[0] - inputs[1], [x, x], [])
    _same(program(rows(1)), rows(1)[0] - rows(1)[1])


def test_what_it_gives_can_be_written_into():
    _, program = record(lambda inputs: [torch.ones(2), WEIGHT], rows(0), [WEIGHT])
    for one in program(rows(0)):
        one.zero_()
    ones, weight = program(rows(0))
    assert ones.tolist() == [1, 1] and torch.equal(weight, WEIGHT) and WEIGHT.any()


def test_nothing_is_held_that_is_not_used_again():
    """The largest that is held at once is as in the function itself."""

    def function(inputs):
        x = inputs[0]
        for _ in range(5):
            x = x.repeat(1, 2) + 1
        return x.sum()

    inputs = rows(0)
    _, program = record(function, inputs, [])
    with _Sizes() as expected:
        function(inputs)
    with _Sizes() as sizes:
        program(inputs)
    assert 0 < sizes.largest <= expected.largest


class _Sizes(TorchDispatchMode):
    """Bytes of results that live at once."""

    def __init__(self):
        super().__init__()
        self.alive, self.largest = [], 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        output = func(*args, **(kwargs or {}))
        self.alive.append((weakref.ref(output), output.nbytes))
        self.alive = [one for one in self.alive if one[0]() is not None]
        self.largest = max(self.largest, sum(size for _, size in self.alive))
        return output
