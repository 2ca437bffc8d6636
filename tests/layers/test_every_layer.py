"""Every public layer: saved and loaded, symbolic, of any batch, differentiable, of any precision.

A new layer is tested by an entry in `CASES`; what it computes is tested in a file of its own.
"""

import json

import keras
import numpy as np
import pytest

from keras_espmedsam import layers

MAP = (2, 4, 4, 8)
MODALITIES = np.array([1, 0], "int32")


def _maps(*shapes):
    rng = np.random.default_rng(2)
    return tuple(rng.normal(size=shape).astype("float32") for shape in shapes)


# Of each layer its arguments, the shapes of its inputs (`None` for the list of maps of a neck), and
# what else it is called with. No argument at its default, so that one missing from a configuration
# is noticed.
CASES = {
    "MLP": (dict(dims=(5, 3), activation="gelu", norm_epsilon=1e-2, zero_init=True), (MAP,), ()),
    "BilinearUpsampling": (dict(factor=2), (MAP,), ()),
    "ConvNorm": (dict(filters=4, kernel_size=3, strides=2, activation=True), (MAP,), ()),
    "ConvPatchEmbedding": (dict(hidden_dim=4), (MAP,), ()),
    "DetailBranch": (dict(dims=(4, 5)), (MAP,), ()),
    "DownsampledAttention": (dict(num_heads=2, downsample_rate=2), ((2, 3, 8),) * 3, ()),
    "FeatureNeck": (dict(hidden_dim=8, strides=[8, 16], output_stride=8), None, ()),
    "FourierPositionalEncoding": (dict(hidden_dim=8, scale=2.0), (MAP,), ()),
    "InterPooling": (dict(pool_size=2, kernel_size=(3, 1), num_heads=2, scale=0.5), (MAP,) * 3, ()),
    "KeyValueTokens": (
        dict(num_tokens=3, num_heads=2, head_dim=4),
        ((2, 2, 5, 6), (2, 2, 7, 6), (2, 2, 7, 4)),
        (),
    ),
    "MBConv": (dict(expand_ratio=2), (MAP,), ()),
    "MaskQuality": (
        dict(coefficients=(((0.5, 1.0, 0.2, 0.3, 0.1, 0.4), ()), ((), (0.5,) * 6))),
        ((2, 8, 8, 2),),
        (MODALITIES,),
    ),
    "ModalityAdapter": (
        dict(num_modalities=2, hidden_dim=4, zero_init=True),
        (MAP,),
        (MODALITIES,),
    ),
    "MSAConv2D": (
        dict(
            filters=5,
            kernel_size=(3, 1),
            strides=(2, 1),
            padding=(1, 2),
            dilation_rate=(1, 2),
            num_heads=2,
            border="mask",
            attention_dropout=0.2,
            conv_kernel_size=(3, 3),
            residual=False,
            pool_size=2,
            num_modalities=2,
            activation="gelu",
            use_bias=False,
            seed=3,
        ),
        (MAP,),
        (MODALITIES,),
    ),
    "ModalityVariables": (
        dict(shapes={"a": (2, 3), "b": (1,)}, initializers={"a": "ones"}),
        (),
        (),
    ),
    "MultiDirectionalCyclicShift": (dict(shift_size=2), (MAP,), ()),
    "ParallelAdapter": (dict(zero_init=True), (MAP,), ()),
    "PatchMerging": (dict(hidden_dim=4, strides=1), (MAP,), ()),
    "PositionEmbedding": (dict(table_size=(3, 5)), (MAP,), ()),
    "QueryDecoupledModalityDecoder": (
        dict(
            num_queries=3,
            query_indices=(2, 0),
            depth=1,
            num_heads=2,
            mlp_dim=4,
            downsample_rate=1,
            shared_hypernetwork=False,
            detail_dims=(3, 2),
            upscaling=8,
            num_channels=(3, 2),
            adapter_dims=((2, 0), (1,)),
        ),
        (MAP, MAP),
        (MODALITIES, _maps((2, 32, 32, 3), (2, 16, 16, 2))),
    ),
    "RelativePositionAttention": (
        dict(num_heads=2, num_tokens=3, table_size=(3, 5)),
        (MAP,),
        (),
    ),
    "RelativePositions": (dict(table_size=(3, 5)), ((2, 2, 4, 3, 8),), ()),
    "ScopeScore": (
        dict(coefficients=((0.1, *[0.2] * 2 * MAP[-1]), ())),
        (MAP,),
        (MODALITIES,),
    ),
    "SelfPatchPromptGenerator": (dict(patch_ratio=4, num_maps=(2, 2)), (MAP,), (MODALITIES,)),
    "TargetConstraints": (
        dict(
            num_channels=(8, 8),
            groups=((1, 1, *(0,) * 6),) * 2,
            outer=((-1, -1, 0, *(-1,) * 5),) * 2,
        ),
        (MAP,),
        (MODALITIES,),
    ),
    "TargetQuery": (dict(modality=1, target=2, adapter_dim=3), ((2, 1, 8),), ()),
    "TiCBlock": (
        dict(
            num_heads=2,
            kernel_size=3,
            shift_size=1,
            pool_size=2,
            mlp_ratio=2,
            border="mask",
            attention_dropout=0.2,
            num_modalities=2,
            adapter_ratio=1,
            adapter_zero_init=True,
        ),
        (MAP,),
        (MODALITIES,),
    ),
    "TwoWayAttentionBlock": (
        dict(num_heads=2, mlp_dim=4, downsample_rate=4, is_first=True),
        ((2, 3, 8), (2, 5, 8)) * 2,
        (),
    ),
    "TwoWayTransformer": (
        dict(depth=1, num_heads=2, mlp_dim=4, downsample_rate=4),
        ((2, 3, 8), (2, 5, 8), (2, 5, 8)),
        (),
    ),
    "UpscalingConv2D": (dict(filters=3, factor=3), (MAP,), ()),
    "ViTMedBlock": (
        dict(
            num_heads=2,
            window_size=3,
            mlp_ratio=2,
            num_tokens=3,
            adapter=True,
            adapter_zero_init=True,
            table_size=(3, 5),
        ),
        (MAP,),
        (),
    ),
    "WindowAttention": (
        dict(num_heads=2, window_size=3, num_modalities=2),
        (MAP,),
        (MODALITIES,),
    ),
    "WindowAttentionBlock": (
        dict(
            num_heads=2,
            window_size=3,
            mlp_ratio=2,
            num_modalities=2,
            adapter_ratio=1,
            adapter_zero_init=True,
        ),
        (MAP,),
        (MODALITIES,),
    ),
}


def _inputs(name):
    _, shapes, choice = CASES[name]
    return ([*_maps(MAP, (2, 2, 2, 8))], *choice) if shapes is None else (*_maps(*shapes), *choice)


def test_every_public_layer_has_a_case():
    missing = set(layers.__all__) - set(CASES)
    assert not missing, f"{missing} of keras_espmedsam.layers: add arguments and inputs to CASES."
    assert not set(CASES) - set(layers.__all__)


CALLED = sorted(set(CASES) - {"ModalityVariables"})
"""Those that compute something; `ModalityVariables` only holds weights."""


def _made(name, randomize, **options):
    layer = getattr(layers, name)(**{**CASES[name][0], **options})
    layer.build(keras.tree.map_structure(lambda x: x.shape, _inputs(name)[0]))
    return randomize(layer)


@pytest.mark.parametrize("name", sorted(CASES))
def test_round_trip(name, run, randomize, unbuilt_parts):
    options = CASES[name][0]
    layer = getattr(layers, name)(**options, name="some_name", dtype="float32")
    text = json.dumps(keras.saving.serialize_keras_object(layer))
    assert f"keras_espmedsam>{name}" in text
    # A frozen part of every preset that is saved.
    twin = keras.saving.deserialize_keras_object(json.loads(text))
    assert type(twin) is type(layer)
    assert twin.name == "some_name"
    assert twin.get_config() == layer.get_config()
    assert set(options) <= set(layer.get_config())
    inputs = _inputs(name)
    if not inputs:
        layer.build()
        twin.build()
        assert [v.path for v in twin.variables] == [v.path for v in layer.variables]
        return
    shape = keras.tree.map_structure(lambda x: x.shape, inputs[0])
    layer.build(shape)
    twin.build(shape)
    assert unbuilt_parts(layer) == []
    assert [v.path for v in twin.variables] == [v.path for v in layer.variables]
    randomize(layer)
    for ours, theirs in zip(twin.variables, layer.variables, strict=True):
        ours.assign(theirs.value)
    expected = run(layer, *inputs)
    keras.tree.map_structure(np.testing.assert_array_equal, run(twin, *inputs), expected)
    # What is promised symbolically is what comes out.
    symbols = keras.tree.map_structure(
        lambda x: keras.KerasTensor(x.shape, dtype=str(x.dtype)), inputs
    )
    spec = layer(*symbols)
    promised = keras.tree.map_structure(lambda s: (s.shape, s.dtype), spec)
    given = keras.tree.map_structure(lambda x: (x.shape, str(x.dtype)), expected)
    assert promised == given


HEADS_IN_FLOAT32 = {
    "FourierPositionalEncoding": None,
    "InterPooling": 1,
    "MaskQuality": None,
    "QueryDecoupledModalityDecoder": None,
    "ScopeScore": None,
    "SelfPatchPromptGenerator": "patches",
    "TargetQuery": None,
}


@pytest.mark.slow_on("jax")
@pytest.mark.parametrize("name", CALLED)
def test_mixed_precision(name, run, randomize):
    inputs = _inputs(name)
    outputs = {}
    for dtype in ("float32", "mixed_bfloat16", "mixed_float16"):
        layer = _made(name, randomize, dtype=dtype)
        assert all(v.dtype == "float32" for v in layer.weights)
        outputs[dtype] = run(layer, *inputs, as_numpy=False)
    expected = keras.tree.flatten_with_path(outputs.pop("float32"))
    for dtype, found in outputs.items():
        for (path, full), reduced in zip(expected, keras.tree.flatten(found), strict=True):
            key = path[0] if path else None
            head = name in HEADS_IN_FLOAT32 and HEADS_IN_FLOAT32[name] == key
            expected_dtype = "float32" if head else dtype.removeprefix("mixed_")
            assert keras.backend.standardize_dtype(reduced.dtype) == expected_dtype, dtype
            full, reduced = (
                keras.ops.convert_to_numpy(t).astype("float32") for t in (full, reduced)
            )
            # The mean, since a channel norm can blow up a single pixel's rounding.
            assert np.abs(full - reduced).mean() <= 0.02 * np.abs(full).max(), dtype


@pytest.mark.slow_on("jax")  # It compiles each layer anew, as in the round trips.
@pytest.mark.parametrize("name", CALLED)
def test_in_a_model_that_is_saved_and_loaded(name, randomize, tmp_path):
    inputs = _inputs(name)
    # The batch is open, as in any model.
    symbols = keras.tree.map_structure(
        lambda x: keras.Input(x.shape[1:], dtype=str(x.dtype)), inputs
    )
    layer = _made(name, randomize)
    model = keras.Model(symbols, layer(*symbols))
    assert all(x.shape[0] is None for x in model.outputs) or name in WITHOUT_BATCH
    expected = model.predict_on_batch(inputs)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras").predict_on_batch(inputs)
    # Flat, since a model that is loaded gives a list where the other gives a tuple.
    for found, wanted in zip(*map(keras.tree.flatten, (loaded, expected)), strict=True):
        np.testing.assert_array_equal(found, wanted)


WITHOUT_BATCH = ("FourierPositionalEncoding",)
"""Whose output is the same for all images."""


@pytest.mark.slow_on("jax")  # It compiles each layer anew, as in the round trips.
@pytest.mark.parametrize("name", CALLED)
def test_samples_do_not_meet(name, run, randomize):
    inputs = _inputs(name)
    layer = _made(name, randomize)
    rows = [1, 0, 1]
    expected = run(layer, *inputs)
    found = run(layer, *keras.tree.map_structure(lambda x: x[rows], inputs))
    if name in WITHOUT_BATCH:
        rows = slice(None)

    def compare(several, both):
        np.testing.assert_allclose(several, both[rows], atol=1e-4, rtol=1e-4)

    keras.tree.map_structure(compare, found, expected)


@pytest.mark.parametrize("name", CALLED)
def test_a_step_of_training_asks_nothing_of_the_host(name, randomize, transfers):
    """An upload or a read makes a GPU wait; constants are uploaded once."""
    layer = _made(name, randomize)
    inputs = keras.tree.map_structure(keras.ops.convert_to_tensor, _inputs(name))

    def step():
        outputs = keras.tree.flatten(layer(*inputs))
        loss = sum(keras.ops.sum(y) for y in outputs)
        if loss.requires_grad:
            loss.backward()

    assert transfers(step, before=1) == {}


@pytest.mark.parametrize("name", sorted(set(CALLED) - set(WITHOUT_BATCH)))
def test_gradients_are_finite(name, randomize, input_gradient):
    inputs = _inputs(name)
    layer = _made(name, randomize)
    first, *others = inputs
    x, more = (first[0], first[1:]) if isinstance(first, list) else (first, None)

    def loss(x):
        outputs = layer(x if more is None else [x, *more], *others)
        return sum(keras.ops.sum(keras.ops.square(y)) for y in keras.tree.flatten(outputs))

    # Zeros too, where a normalisation would divide by nothing.
    for values in (x, np.zeros_like(x)):
        gradient = input_gradient(loss, values)  # Compiled once: it is the same function.
        assert gradient.shape == x.shape and np.isfinite(gradient).all()
