"""A step goes from the host to the device and back for its batch and its results, and no more.

Counted on a CPU: on PyTorch the functions that would upload or read (`benchmarks/
device_transfers.py`), on JAX by its own guard. A graph of TensorFlow has its constants in itself.
"""

import keras
import numpy as np
import pytest

import keras_espmedsam as kem
from keras_espmedsam.optimizers import decoupled_optimizer

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (4, 32, 32, 3), dtype="uint8")
MASKS = (RNG.random((4, 32, 32, 1)) > 0.7).astype("float32")
X = {"images": IMAGES, "modalities": np.array([0, 2, 1, 2], "int32")}
METRICS = {"masks": [kem.metrics.DiceScore(), kem.metrics.ForegroundIoU()]}


def small(build, names=("skin", "lung", "eye"), **decoder):
    """A convolutional and an attention stage."""
    encoder = build.encoder(
        hidden_dims=(8, 16),
        depths=(1, 1),
        num_heads=(2,),
        window_sizes=(4,),
        strides=(2,),
        num_modalities=len(names),
    )
    backbone = build.backbone(encoder, modalities=names, transformer_depth=1, **decoder)
    return build.segmenter(backbone, image_size=(32, 32))


def on_device(batch):
    return keras.tree.map_structure(keras.ops.convert_to_tensor, batch)


def function(model, kind):
    """What `fit`, `evaluate` or `predict` calls with a list of batches."""
    getattr(model, f"make_{kind}_function")()
    return getattr(model, f"{kind}_function")


@pytest.fixture(autouse=True)
def as_on_an_accelerator(monkeypatch):
    """On a CPU, where nothing waits, `DecoupledOptimizer` asks which modalities are present."""
    monkeypatch.setattr(decoupled_optimizer, "_can_be_read", lambda tensor: False)


@pytest.fixture(scope="module")
def segmenter(build):
    model = small(build)
    model.compile(metrics=METRICS)
    return model


WEIGHTS = {
    "no weights": None,
    "weights per image": np.ones(4, "float32"),
    "weights per pixel": np.ones((4, 32, 32, 1), "float32"),
}


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("kind", ["train", "test"])
def test_a_step_of_fit_and_evaluate(segmenter, kind, weights, transfers):
    batch = on_device(segmenter.prepare_batch(X, MASKS, WEIGHTS[weights]))
    step = function(segmenter, kind)
    assert transfers(lambda: step([batch])) == {}


def test_a_step_of_predict(segmenter, transfers):
    x = on_device(segmenter.prepare_batch(X))
    batches = [{**x, "images": k * x["images"]} for k in range(1, 9)]
    step = function(segmenter, "predict")
    assert transfers(lambda: step([(batches.pop(),)])) == {}


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision(policy, build, transfers):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        model = small(build)
    finally:
        keras.config.set_dtype_policy(before)
    model.compile(metrics=METRICS)
    batch = on_device(model.prepare_batch(X, MASKS))
    step = function(model, "test")
    assert transfers(lambda: step([batch])) == {}


@pytest.mark.parametrize("names", [("skin",), ("skin", "lung")])
@pytest.mark.parametrize("shared", [True, False])
def test_added_modalities(names, shared, build, transfers):
    model = small(build, names=names, shared_hypernetwork=shared).add_modality("eye")
    model.compile(metrics=METRICS)
    x = {"images": IMAGES, "modalities": np.array([0, 1, 0, len(names)], "int32")}
    batch = on_device(model.prepare_batch(x, MASKS))
    step = function(model, "train")
    assert transfers(lambda: step([batch])) == {}


def test_one_modality_by_itself(segmenter, transfers):
    model = segmenter.specialize("lung").fold()
    x = on_device(model.prepare_batch({"images": IMAGES}))
    assert transfers(lambda: model(x, training=False)) == {}


@pytest.mark.parametrize("pool_size", [None, 2])
@pytest.mark.parametrize("border", ["zero", "mask"])
def test_a_step_of_a_classifier(pool_size, border, transfers):
    backbone = kem.models.TiCBackbone(
        hidden_dims=(8, 8),
        depths=(1, 1),
        num_heads=(1, 2),
        kernel_size=5,
        shift_size=2,
        pool_size=pool_size,
        border=border,
    )
    converter = kem.models.TiCImageConverter(image_size=(32, 32))
    preprocessor = kem.models.TiCImageClassifierPreprocessor(converter)
    model = kem.models.TiCImageClassifier(
        backbone, class_names=("fundus", "xray"), preprocessor=preprocessor
    )
    model.compile()
    batch = on_device(model.prepare_batch(IMAGES, ["xray", "fundus"] * 2))
    step = function(model, "train")
    assert transfers(lambda: step([batch])) == {}


def test_a_step_on_jax_moves_nothing(segmenter):
    if keras.backend.backend() != "jax":
        pytest.skip("JAX's own guard; PyTorch's steps are counted above")
    import jax

    batch = segmenter.prepare_batch(X, MASKS)
    state = [
        [variable.value for variable in variables]
        for variables in (
            segmenter.trainable_variables,
            segmenter.non_trainable_variables,
            segmenter.metrics_variables,
        )
    ]
    step = jax.jit(segmenter.test_step)
    there = jax.device_put((state, batch))
    logs, _ = jax.block_until_ready(step(*there))
    with jax.transfer_guard("disallow"):
        again, _ = jax.block_until_ready(step(*there))
        with pytest.raises(Exception, match="Disallowed host-to-device transfer"):
            step(state, batch)
    assert {key: float(value) for key, value in again.items()} == {
        key: float(value) for key, value in logs.items()
    }
