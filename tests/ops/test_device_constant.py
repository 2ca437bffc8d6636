"""What is made once and used in many places: the right values, and never another graph's."""

import keras
import numpy as np
import pytest

from keras_espmedsam.ops.device_constant import MOST_KEPT, device_constant, device_number

made = []


def counting(start, stop):
    made.append((start, stop))
    return np.arange(start, stop, dtype="float32")


@pytest.fixture(autouse=True)
def _nothing_made():
    made.clear()


@pytest.fixture
def torch():
    if keras.backend.backend() != "torch":
        pytest.skip("only on PyTorch is something kept")
    return pytest.importorskip("torch")


def product(x, start=1):
    """`x` times `start`, `start + 1`, ..."""
    return x * device_constant(counting, start, start + 3, like=x)


def test_the_value_is_that_of_the_function(run_op):
    x = np.array([1, 2, 3], "float32")
    for start in (1, 5, 1):
        expected = x * np.arange(start, start + 3)
        np.testing.assert_array_equal(run_op(product, x, start=start), expected)


@pytest.mark.parametrize("value", [0, -2.5, float("-inf")])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_a_number_takes_the_dtype_of_what_it_is_used_with(value, dtype, run_op):
    def larger(x):
        x = keras.ops.cast(x, dtype)
        found = keras.ops.maximum(x, device_number(value, like=x))
        assert keras.backend.standardize_dtype(found.dtype) == dtype
        return keras.ops.cast(found, "float32")

    x = np.array([-4, 0, 3], "float32")
    np.testing.assert_array_equal(run_op(larger, x), np.maximum(x, value))


def test_of_integers(run_op):
    x = np.array([2, 0, 1], "int32")
    found = run_op(lambda x: keras.ops.equal(x, device_number(1, like=x)), x)
    assert found.tolist() == [False, False, True]


def test_it_is_made_and_uploaded_once(torch, transfers):
    x = torch.ones(3)
    assert transfers(lambda: product(x, start=50), before=1) == {}
    assert made == [(50, 53)]


def test_each_device_has_its_own(torch):
    for device in ("cpu", "meta", "cpu"):
        found = device_constant(counting, 60, 63, like=torch.ones(3, device=device))
        assert found.device.type == device
    assert len(made) == 2


def test_it_can_be_trained_with_after_inference(torch):
    with torch.inference_mode():
        product(torch.ones(3), start=70)
    x = torch.ones(3, requires_grad=True)
    product(x, start=70).sum().backward()
    assert x.grad.tolist() == [70, 71, 72] and len(made) == 1


def _fake(torch, function):
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode() as mode:
        function(mode.from_tensor(torch.ones(3)))


def _exported(torch, function, strict):
    class Module(torch.nn.Module):
        def forward(self, x):
            return function(x)

    found = torch.export.export(Module(), (torch.ones(3),), strict=strict).module()(torch.ones(3))
    assert found.tolist() == function(torch.ones(3)).tolist()


CAPTURES = {
    "a symbolic call of Keras": lambda torch, function: keras.layers.Lambda(function)(
        keras.KerasTensor((3,))
    ),
    "torch.export": lambda torch, function: _exported(torch, function, strict=False),
    "torch.export, strict": lambda torch, function: _exported(torch, function, strict=True),
    "torch.jit.trace": lambda torch, function: torch.jit.trace(function, torch.ones(3)),
    "torch.compile": lambda torch, function: torch.compile(function, backend="eager")(
        torch.ones(3)
    ),
    "torch.vmap": lambda torch, function: torch.vmap(function)(torch.ones(2, 3)),
    "fake tensors": _fake,
}


@pytest.mark.parametrize("capture", CAPTURES)
def test_nothing_of_a_graph_is_kept(capture, torch):
    """Before and after a graph is captured, and of one that is captured first."""
    start = 100 + 10 * list(CAPTURES).index(capture)

    def function(x):
        return product(x, start)

    expected = [start, start + 1, start + 2]
    for _ in range(2):
        CAPTURES[capture](torch, function)
        x = torch.ones(3, requires_grad=True)
        found = function(x)
        assert type(found) is torch.Tensor and found.tolist() == expected
        found.sum().backward()
        assert x.grad.tolist() == expected


def test_no_more_are_kept_than_said(torch):
    for start in range(MOST_KEPT + 5):
        product(torch.ones(3), start=1000 + start)
    made.clear()
    product(torch.ones(3), start=1000)
    product(torch.ones(3), start=1000 + MOST_KEPT)
    assert made == [(1000, 1003)]


def test_nothing_of_a_trace_is_kept_on_jax():
    if keras.backend.backend() != "jax":
        pytest.skip("JAX's own check of what leaves a trace")
    import jax

    def loss(x):
        return keras.ops.sum(keras.ops.maximum(product(x), device_number(0, like=x)))

    with jax.checking_leaks():
        for _ in range(2):
            gradient = jax.jit(jax.grad(jax.checkpoint(loss)))(np.ones(3, "float32"))
            assert gradient.tolist() == [1, 2, 3]


def test_nothing_of_a_graph_is_kept_on_tensorflow():
    if keras.backend.backend() != "tensorflow":
        pytest.skip("TensorFlow's graphs")
    import tensorflow as tf

    for _ in range(2):  # A tensor of another graph raises.
        assert tf.function(product)(tf.ones(3)).numpy().tolist() == [1, 2, 3]
        assert product(tf.ones(3)).numpy().tolist() == [1, 2, 3]
