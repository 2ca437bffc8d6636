import keras
import numpy as np
import pytest

from keras_espmedsam.layers import QueryDecoupledModalityDecoder

# Not in order, so that a modality's index is told apart from its query's.
QUERY_INDICES = (3, 0, 2)
OPTIONS = dict(depth=1, num_heads=2, mlp_dim=16)


def _decoder(randomize, **options):
    layer = QueryDecoupledModalityDecoder(
        4, **{"query_indices": QUERY_INDICES, **OPTIONS, **options}
    )
    layer.build((None, 2, 3, 16))
    return randomize(layer)


def _transposed(x, layer, ref):
    """A transposed convolution whose kernel is its stride: each pixel paints a block of its own."""
    kernel, bias = ref.array(layer.kernel), ref.array(layer.bias)
    blocks = np.einsum("bhwi,yxoi->bhywxo", x, kernel)
    batch, height, y, width, x, channels = blocks.shape
    return blocks.reshape(batch, height * y, width * x, channels) + bias


def _decode(embeddings, prompt, layer, ref):
    """The masks of all queries, from the spec."""
    batch, height, width, channels = embeddings.shape
    matrix = ref.array(layer.positional_encoding.matrix)
    y, x = np.meshgrid(
        (np.arange(height) + 0.5) / height, (np.arange(width) + 0.5) / width, indexing="ij"
    )
    phase = 2 * np.pi * (2 * np.stack([x, y], -1) - 1).reshape(1, -1, 2) @ matrix
    positions = np.concatenate([np.sin(phase), np.cos(phase)], axis=-1)
    queries = np.repeat(ref.array(layer.queries)[None], batch, axis=0)
    keys = (embeddings + prompt).reshape(batch, height * width, channels)
    queries, keys = ref.two_way(queries, keys, positions, layer.transformer)
    features = _transposed(keys.reshape(embeddings.shape), layer.upscale_1, ref)
    features = ref.gelu(ref.layer_norm(features, layer.upscale_norm, 1e-6))
    features = ref.gelu(_transposed(features, layer.upscale_2, ref))
    masks = []
    for i in range(layer.num_queries):
        kernel = queries[:, i]
        network = layer.hypernetworks[0 if layer.shared_hypernetwork else i]
        for j, dense in enumerate(network.dense_layers):
            kernel = ref.dense(kernel, dense)
            kernel = np.maximum(kernel, 0) if j < 2 else kernel
        masks.append(np.einsum("bhwc,bc->bhw", features, kernel))
    return np.stack(masks, axis=-1)


@pytest.mark.parametrize("shared", [True, False], ids=["one network", "a network per query"])
def test_all_queries_equal_numpy_and_the_own_query_is_one_of_them(
    shared, run, draw, ref, randomize
):
    embeddings, prompt = draw(3, 2, 3, 16), draw(3, 2, 3, 16)
    layer = _decoder(randomize, shared_hypernetwork=shared)
    assert len(layer.hypernetworks) == (1 if shared else 4)
    expected = _decode(embeddings, prompt, layer, ref)
    every = run(layer, embeddings, prompt, all_queries=True)
    assert every.shape == (3, 8, 12, 4)
    np.testing.assert_allclose(every, expected, atol=2e-4)

    modalities = np.array([0, 2, 1], "int32")
    own = run(layer, embeddings, prompt, modalities)
    assert own.shape == (3, 8, 12, 1)
    for row, query in enumerate([3, 2, 0]):
        np.testing.assert_allclose(own[row, ..., 0], every[row, ..., query], atol=1e-5)


def test_a_single_modality_needs_no_choice(run, draw, randomize):
    embeddings, prompt = draw(3, 2, 3, 16), draw(3, 2, 3, 16)
    layer = _decoder(randomize, query_indices=(2,))
    every = run(layer, embeddings, prompt, all_queries=True)
    own = run(layer, embeddings, prompt)
    np.testing.assert_allclose(own[..., 0], every[..., 2], atol=1e-5)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_masks_are_float32_under_mixed_precision(policy, run, draw, randomize):
    embeddings, prompt = draw(3, 2, 3, 16), draw(3, 2, 3, 16)
    added = dict(query_indices=(3, 4, 2), num_added_queries=1)
    half, full = _decoder(randomize, dtype=policy, **added), _decoder(randomize, **added)
    modalities = np.array([0, 2, 1], "int32")
    ours, expected = (run(layer, embeddings, prompt, modalities) for layer in (half, full))
    assert ours.dtype == np.float32
    assert half.hypernetworks[0].compute_dtype == "float32"
    tolerance = 0.1 if policy == "mixed_bfloat16" else 0.02
    assert np.abs(ours - expected).max() < tolerance * np.abs(expected).max()


def test_only_hypernetworks_of_their_own_are_marked_as_a_modalitys(randomize):
    for shared in (True, False):
        layer = _decoder(randomize, shared_hypernetwork=shared)
        marked = {id(v) for v in layer.variables if hasattr(v, "modality")}
        own = {id(v) for network in layer.hypernetworks for v in network.variables}
        assert marked == (set() if shared else own)


def _plain_twin(layer, added=None):
    """A decoder without added queries, or with one of them among its own, visible to all."""
    chosen = slice(0, 0) if added is None else slice(added, added + 1)
    extra = [own["query"] for own in layer.added_queries[chosen]]
    count = layer.num_queries + len(extra)
    twin = QueryDecoupledModalityDecoder(
        count, range(count), shared_hypernetwork=layer.shared_hypernetwork, **OPTIONS
    )
    twin.build((None, 2, 3, 16))
    networks = [*layer.hypernetworks, *layer.added_hypernetworks[chosen]]
    for name in ("positional_encoding", "transformer", "upscale_1", "upscale_norm", "upscale_2"):
        getattr(twin, name).set_weights(getattr(layer, name).get_weights())
    for new, old in zip(twin.hypernetworks, networks, strict=True):
        new.set_weights(old.get_weights())
    rows = [keras.ops.convert_to_numpy(x) for x in (layer.queries, *extra)]
    twin.queries.assign(np.concatenate([np.reshape(row, (-1, 16)) for row in rows]))
    return twin


@pytest.mark.parametrize("shared", [True, False], ids=["one network", "a network per query"])
def test_an_added_query_is_seen_by_its_own_samples_alone(shared, run, draw, ref, randomize):
    embeddings, prompt = draw(3, 2, 3, 16), draw(3, 2, 3, 16)
    layer = _decoder(
        randomize,
        query_indices=(5, 2, 0, 4),
        num_added_queries=2,
        shared_hypernetwork=shared,
    )
    # Modality 1 is an old one, 3 and 0 have the added queries 0 and 1.
    modalities = np.array([1, 3, 0], "int32")
    every = run(layer, embeddings, prompt, modalities, all_queries=True)
    assert every.shape == (3, 8, 12, 5)
    for row, added in enumerate([None, 0, 1]):
        one = slice(row, row + 1)
        twin = _plain_twin(layer, added)
        expected = _decode(embeddings[one], prompt[one], twin, ref)
        assert expected.shape[-1] == 4 + (added is not None)
        np.testing.assert_allclose(every[one, ..., : expected.shape[-1]], expected, atol=2e-4)
    np.testing.assert_array_equal(every[0, ..., 4], 0)

    own = run(layer, embeddings, prompt, modalities)
    for row, mask in enumerate([2, 4, 4]):
        np.testing.assert_allclose(own[row, ..., 0], every[row, ..., mask], atol=1e-5)


def test_not_even_a_broken_added_query_reaches_other_modalities(run, draw, randomize):
    embeddings, prompt = draw(3, 2, 3, 16), draw(3, 2, 3, 16)
    layer = _decoder(randomize, query_indices=(1, 4, 5), num_added_queries=2)
    modalities = np.array([0, 1, 2], "int32")
    before = run(layer, embeddings, prompt, modalities)
    layer.added_queries[1]["query"].assign(np.full(16, np.nan, "float32"))
    after = run(layer, embeddings, prompt, modalities)
    np.testing.assert_array_equal(after[:2], before[:2])
    assert np.isnan(after[2]).all()


def test_a_single_added_modality_sees_its_query(run, draw, ref, randomize):
    embeddings, prompt = draw(3, 2, 3, 16), draw(3, 2, 3, 16)
    layer = _decoder(randomize, query_indices=(4,), num_added_queries=1)
    expected = _decode(embeddings, prompt, _plain_twin(layer, 0), ref)
    np.testing.assert_allclose(run(layer, embeddings, prompt)[..., 0], expected[..., 4], atol=2e-4)


def test_added_weights_are_marked_as_their_modalitys(randomize):
    for shared in (True, False):
        layer = _decoder(
            randomize,
            query_indices=(5, 0, 4),
            num_added_queries=2,
            shared_hypernetwork=shared,
        )
        assert layer.added_layers(1) == []
        for modality in (0, 2):
            layers = layer.added_layers(modality)
            assert [v.modality for one in layers for v in one.variables] == [modality] * (
                1 if shared else 7
            )


def test_all_queries_of_added_modalities_need_the_modality(draw, randomize):
    layer = _decoder(randomize, query_indices=(0, 4), num_added_queries=1)
    with pytest.raises(ValueError, match="give one index per image also with all_queries"):
        layer(draw(1, 2, 3, 16), draw(1, 2, 3, 16), all_queries=True)


@pytest.mark.parametrize("query_indices", [(0, 1), (4, 4, 5), (0, 5)])
def test_each_added_query_belongs_to_one_modality(query_indices):
    with pytest.raises(ValueError, match="give each index from 4 to 5 once"):
        QueryDecoupledModalityDecoder(4, query_indices, num_added_queries=2)


@pytest.mark.parametrize("query_indices", [(0, 4), (-1,)])
def test_query_indices_must_exist(query_indices):
    with pytest.raises(ValueError, match="give one index from 0 to 3 per modality"):
        QueryDecoupledModalityDecoder(4, query_indices)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="only TensorFlow traces sizes")
def test_size_unknown_while_tracing(draw, ref, randomize):
    import tensorflow as tf

    layer = _decoder(randomize)
    added = _decoder(randomize, query_indices=(0, 4), num_added_queries=1)
    some, index = tf.TensorSpec((None, None, None, 16)), tf.TensorSpec((None,), "int32")
    traced = tf.function(lambda x, p: layer(x, p, all_queries=True), input_signature=[some, some])
    with_added = tf.function(added, input_signature=[some, some, index])
    for shape in ((1, 2, 3, 16), (2, 4, 1, 16)):
        x, p, m = draw(*shape), draw(*shape), np.arange(2)[-shape[0] :]
        np.testing.assert_allclose(traced(x, p).numpy(), _decode(x, p, layer, ref), atol=2e-4)
        np.testing.assert_allclose(with_added(x, p, m), added(x, p, m), atol=1e-5)
