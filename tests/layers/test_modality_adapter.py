import numpy as np
import pytest

from keras_espmedsam.layers import ModalityAdapter


def _adapter(x, weights, ref):
    """One sample through one modality's adapter."""
    w = {name: ref.array(weights[name]) for name in weights.shapes}
    y = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    y = y * w["norm_gamma"] + w["norm_beta"]
    y = ref.gelu(y @ w["dense_1_kernel"] + w["dense_1_bias"])
    return y @ w["dense_2_kernel"] + w["dense_2_bias"]


@pytest.fixture
def layer(randomize):
    layer = ModalityAdapter(num_modalities=3, hidden_dim=6)
    layer.build((None, 2, 3, 4))
    return randomize(layer)


def test_each_sample_goes_through_its_own_adapter(layer, run, draw, ref):
    x = draw(3, 2, 3, 4)
    modalities = np.array([2, 0, 2], "int32")
    expected = np.stack(
        [_adapter(sample, layer.adapters[k], ref) for sample, k in zip(x, modalities, strict=True)]
    )
    np.testing.assert_allclose(run(layer, x, modalities), expected, atol=1e-5)


def test_a_mixed_batch_equals_batches_of_one_modality(layer, run, draw):
    x = draw(3, 2, 3, 4)
    mixed = run(layer, x, np.array([1, 0, 2], "int32"))
    for row, k in enumerate([1, 0, 2]):
        alone = run(layer, x, np.full(3, k, "int32"))
        np.testing.assert_allclose(mixed[row], alone[row], atol=1e-5)


def test_a_single_modality_needs_no_choice(run, draw, ref, randomize):
    x = draw(3, 2, 3, 4)
    layer = ModalityAdapter(num_modalities=1, hidden_dim=6)
    layer.build(x.shape)
    randomize(layer)
    expected = _adapter(x, layer.adapters[0], ref)
    np.testing.assert_allclose(run(layer, x), expected, atol=1e-5)


def test_zero_init_starts_at_nothing(run, draw):
    x = draw(3, 2, 3, 4)
    modalities = np.array([1, 0, 2], "int32")
    quiet = ModalityAdapter(num_modalities=3, hidden_dim=6, zero_init=True)
    assert not run(quiet, x, modalities).any()
    loud = ModalityAdapter(num_modalities=3, hidden_dim=6)
    assert np.abs(run(loud, x, modalities)).max() > 0.1


def test_no_variable_is_shared_between_modalities(layer):
    assert len(layer.trainable_variables) == 3 * 6
    assert [v.modality for v in layer.trainable_variables] == 6 * [0] + 6 * [1] + 6 * [2]
    assert len({id(v) for v in layer.trainable_variables}) == 18
