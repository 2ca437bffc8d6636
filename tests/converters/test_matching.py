import keras
import numpy as np
import pytest

from keras_espmedsam.converters import matching
from keras_espmedsam.converters.matching import Entry, assign_tensors, differing_tensors
from keras_espmedsam.errors import InputError

torch = pytest.importorskip("torch")


def variable(shape):
    return keras.Variable(np.zeros(shape, "float32"))


def numpy_of(value):
    return keras.ops.convert_to_numpy(value)


def assigned(torch_tensor, target, layout):
    array = torch_tensor.detach().cpu().numpy()
    assign_tensors({"w": array}, [Entry("w", target, layout)])


def test_layouts_compute_what_torch_computes():
    """Each layout, through a layer of the kind it is for, on the same input."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(1, 4, 6, 5, generator=generator)
    channels_last = x.permute(0, 2, 3, 1).numpy()
    functional = torch.nn.functional
    cases = [
        (
            keras.layers.Conv2D(3, (3, 2), use_bias=False),
            matching.CONV,
            (3, 4, 3, 2),
            functional.conv2d,
        ),
        (
            keras.layers.DepthwiseConv2D((3, 2), use_bias=False),
            matching.DEPTHWISE,
            (4, 1, 3, 2),
            lambda x, w: functional.conv2d(x, w, groups=4),
        ),
        (
            keras.layers.Conv2DTranspose(3, 2, strides=2, use_bias=False),
            matching.CONV_TRANSPOSE,
            (4, 3, 2, 2),
            lambda x, w: functional.conv_transpose2d(x, w, stride=2),
        ),
    ]
    for layer, layout, shape, reference in cases:
        layer.build(channels_last.shape)
        weight = torch.randn(shape, generator=generator)
        assigned(weight, layer.kernel, layout)
        expected = reference(x, weight).permute(0, 2, 3, 1).numpy()
        np.testing.assert_allclose(numpy_of(layer(channels_last)), expected, atol=1e-5)

    dense = keras.layers.Dense(3, use_bias=False)
    dense.build((None, 4))
    weight = torch.randn(3, 4, generator=generator)
    assigned(weight, dense.kernel, matching.DENSE)
    expected = functional.linear(x.permute(0, 2, 3, 1), weight).numpy()
    np.testing.assert_allclose(numpy_of(dense(channels_last)), expected, atol=1e-5)


def test_token_layout():
    target = variable((4, 3))
    assigned(torch.arange(12.0).reshape(4, 1, 3), target, matching.TOKEN)
    np.testing.assert_array_equal(numpy_of(target), np.arange(12).reshape(4, 3))


def test_ignored_prefixes_and_batch_norm_counters():
    target = variable(2)
    tensors = {
        "bn.running_mean": np.ones(2, "float32"),
        "bn.num_batches_tracked": np.array(5),
        "head.weight": np.ones(3),
        "head.bias": np.ones(3),
    }
    ignored = assign_tensors(tensors, [Entry("bn.running_mean", target)], ["head.", "teacher."])
    assert ignored == {"head.": 2}
    np.testing.assert_array_equal(numpy_of(target), [1, 1])


def test_all_problems_in_one_sentence_and_nothing_assigned():
    good, bad, absent, infinite = variable(2), variable((3, 2)), variable(1), variable(2)
    entries = [
        Entry("good", good),
        Entry("bad.weight", bad, matching.DENSE),
        Entry("absent", absent),
        Entry("infinite", infinite),
    ]
    tensors = {
        "good": np.ones(2),
        "bad.weight": np.ones((3, 2)),
        "infinite": np.array([1, np.nan]),
        "other.num_batches_tracked": np.array(5),
    }
    with pytest.raises(InputError) as error:
        assign_tensors(tensors, entries, source="The checkpoint x.pth")
    assert str(error.value) == (
        "The checkpoint x.pth does not fit the model (missing: absent; unexpected: "
        "other.num_batches_tracked; of another shape: bad.weight (3 x 2, expected 2 x 3); with "
        "NaN or infinite values: infinite); give a checkpoint of the published configuration."
    )
    for untouched in (good, bad, absent, infinite):
        assert not numpy_of(untouched).any()


def test_long_lists_are_cut():
    entries = [Entry(f"name_{i:02}", variable(1)) for i in range(11)]
    with pytest.raises(InputError, match=r"name_07 and 3 more\)"):
        assign_tensors({}, entries)
    with pytest.raises(InputError, match=r"name_07\)"):
        assign_tensors({}, entries[:8])


def test_differing_tensors():
    first = {"same": np.ones(2, "float32"), "value": np.ones(2), "shape": np.ones(2), "only": 1}
    second = {"same": np.ones(2, "float32"), "value": np.ones(2) + 1e-12, "shape": np.ones((2, 1))}
    names = ["same", "value", "shape", "only"]
    assert differing_tensors(first, second, names) == ["value", "shape", "only"]
    # Bit for bit: equal as numbers is not enough.
    assert differing_tensors({"a": np.array(0.0)}, {"a": np.array(-0.0)}, ["a"]) == ["a"]
