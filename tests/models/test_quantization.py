"""A quantised model is saved and loaded as it is."""

import json
import warnings

import keras
import numpy as np
import pytest

import keras_espmedsam as kem
from keras_espmedsam.errors import InputError
from keras_espmedsam.models.quantization import quantized_layers

IMAGE = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype="uint8")
IMAGES = np.random.default_rng(0).normal(size=(2, 64, 64, 3)).astype("float32")


def make_classifier(backbone=None, **options):
    models = kem.models
    backbone = backbone or models.TiCBackbone(
        hidden_dims=(8, 8), depths=(1, 1), num_heads=(1, 2), kernel_size=3
    )
    preprocessor = models.TiCImageClassifierPreprocessor(
        models.TiCImageConverter(image_size=(64, 64))
    )
    return models.TiCImageClassifier(
        backbone, class_names=("eye", "lung"), preprocessor=preprocessor, **options
    )


def make(kind, build):
    if kind == "classifier":
        return build.randomize(make_classifier())
    if kind == "segmenter":  # Of which each part holds dense layers in layers.
        encoder = build.encoder(
            hidden_dims=(8, 8), depths=(1, 1), num_heads=(2,), window_sizes=(4,), strides=(2,)
        )
    else:
        encoder = kem.models.ViTMedBackbone(
            hidden_dim=8,
            depth=1,
            num_heads=2,
            neck_dim=8,
            patch_size=16,
            global_indices=(0,),
            image_shape=(64, 64, 3),
        )
    backbone = build.backbone(encoder, transformer_depth=1, shared_hypernetwork=kind != "vit_med")
    return build.randomize(build.segmenter(backbone))


def assert_same(one, other):
    """Every weight and every layer's precision."""
    assert len(one.weights) == len(other.weights)
    for a, b in zip(one.weights, other.weights, strict=True):
        assert (a.dtype, a.path.split("/", 1)[-1]) == (b.dtype, b.path.split("/", 1)[-1])
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(a), keras.ops.convert_to_numpy(b))
    for a, b in zip(quantized_layers(one), quantized_layers(other), strict=True):
        assert (a.path, a.dtype_policy.name) == (b.path, b.dtype_policy.name)
        assert as_json(a.quantization_config) == as_json(b.quantization_config)


def as_json(quantization):
    return json.dumps(quantization and quantization.get_config(), sort_keys=True)


def integers(model):
    return sum(weight.dtype == "int8" for weight in model.weights)


CASES = [
    ("segmenter", "int8", 19),
    ("classifier", "int4", 7),
    *(
        pytest.param(*case, marks=pytest.mark.slow_on("jax", "tensorflow"))
        for case in (("classifier", "int8", 7), ("vit_med", "int8", 28))
    ),
]


# What is in a file does not depend on the backend: two cases show that each can write it.
@pytest.mark.parametrize(("kind", "mode", "layers"), CASES)
def test_files_and_presets_give_the_quantized_model(kind, mode, layers, build, tmp_path):
    model = make(kind, build)
    plain = model.get_config()
    with warnings.catch_warnings():
        warnings.simplefilter(
            "error", UserWarning
        )  # Keras tells of each kind of layer that it leaves.
        model.quantize(mode)
    found = quantized_layers(model)
    assert {layer.quantization_mode for layer in found} == {mode} and len(found) >= layers
    policies = [layer.dtype_policy.name for layer in found]
    model.save(tmp_path / "model.keras")
    model.save_to_preset(tmp_path / "preset")
    model.save_weights(tmp_path / "model.weights.h5")
    assert [layer.dtype_policy.name for layer in found] == policies
    assert_same(keras.saving.load_model(tmp_path / "model.keras"), model)
    again = type(model).from_preset(tmp_path / "preset")
    assert_same(again, model)
    assert_same(type(model.backbone).from_preset(tmp_path / "preset"), model.backbone)
    twin = type(model).from_config(plain)
    twin.quantize(mode)
    twin.load_weights(tmp_path / "model.weights.h5")
    assert_same(twin, model)
    # And those once more.
    again.save(tmp_path / "again.keras")
    assert_same(keras.saving.load_model(tmp_path / "again.keras"), model)


def test_weights_of_a_model_quantized_otherwise_are_refused(build, tmp_path):
    plain, quantized = make("classifier", build), make("classifier", build)
    quantized.quantize("int8")
    for model, name in ((plain, "plain"), (quantized, "quantized")):
        model.save_weights(tmp_path / f"{name}.weights.h5")
    before = [build.array(weight) for weight in plain.weights]
    with pytest.raises(
        InputError, match=r"quantized\.weights\.h5 holds 7 quantized weights and .* 0;"
    ):
        plain.load_weights(tmp_path / "quantized.weights.h5")
    with pytest.raises(InputError, match=r"holds 0 quantized weights and this model 7;"):
        quantized.load_weights(str(tmp_path / "plain.weights.h5"))
    for weight, value in zip(plain.weights, before, strict=True):
        np.testing.assert_array_equal(build.array(weight), value)
    plain.load_weights(tmp_path / "plain.weights.h5")


@pytest.mark.usefixtures("untraced_tensorflow")
def test_it_gives_the_same_outputs(build, tmp_path):
    classifier = make("classifier", build)
    before = classifier.classify(IMAGE)["probabilities"]
    classifier.quantize("int8")
    found = classifier.classify(IMAGE)["probabilities"]
    assert 0 < np.abs(found - before).max() < 0.2
    classifier.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.classify(IMAGE)["probabilities"], found)


def test_a_model_without_quantization_is_written_as_ever(build, tmp_path):
    classifier = make("classifier", build)
    classifier.save_to_preset(tmp_path)
    assert "quantization" not in (tmp_path / "task.json").read_text()
    # Each model tells of its own layers, once.
    classifier.quantize("int8")
    classifier.save_to_preset(tmp_path)
    config = json.loads((tmp_path / "task.json").read_text())["config"]
    (entry,) = config["quantization"]
    assert entry["layers"] == ["predictions"]
    (entry,) = config["backbone"]["config"]["quantization"]
    assert len(entry["layers"]) == len(set(entry["layers"])) == 6
    assert config["backbone"]["config"]["dtype"]["config"] == {"name": "float32"}


def test_some_layers_each_in_its_own_way(build, tmp_path):
    classifier = make("classifier", build)
    quantizers = keras.quantizers
    weights_only = quantizers.Int8QuantizationConfig(activation_quantizer=None)
    classifier.quantize("int8", config=weights_only, filters="qkv")
    assert integers(classifier) == 2
    per_channel = quantizers.Int4QuantizationConfig(
        quantizers.AbsMaxQuantizer(axis=0, value_range=(-8, 7), output_dtype="int8"), None, -1
    )
    classifier.quantize(config=per_channel, filters=["dense_1"])
    classifier.quantize(
        "int8", filters=lambda layer: layer.path.endswith("stage_1_block_0/mlp/dense_2")
    )
    assert integers(classifier) == 5
    classifier.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert_same(loaded, classifier)
    np.testing.assert_array_equal(build.run(loaded, IMAGES), build.run(classifier, IMAGES))


def test_the_precision_of_the_other_layers_is_kept(build, tmp_path):
    """Keras' own way of writing it down leaves it to the setting where the file is loaded."""
    backbone = kem.models.TiCBackbone(
        hidden_dims=(8,), depths=(1,), num_heads=(1,), kernel_size=3, dtype="mixed_bfloat16"
    )
    classifier = make_classifier(backbone)
    classifier.quantize("int8")
    classifier.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.backbone.dtype_policy.name == "mixed_bfloat16"
    names = {layer.name: layer.dtype_policy.name for layer in quantized_layers(loaded)}
    assert names["qkv"] == "int8_from_mixed_bfloat16" and names["predictions"].endswith("float32")
    assert_same(loaded, classifier)


def test_an_encoder_of_the_users_own(build, tmp_path):
    image = keras.Input((64, 64, 3))
    x = keras.layers.Conv2D(16, 16, strides=16)(image)
    encoder = keras.Model(image, keras.layers.Dense(16)(x))
    model = build.randomize(build.segmenter(build.backbone(encoder, transformer_depth=1)))
    model.quantize("int8")
    model.save(tmp_path / "model.keras")
    assert_same(keras.saving.load_model(tmp_path / "model.keras"), model)
    model.save_to_preset(tmp_path / "preset")
    assert_same(type(model).from_preset(tmp_path / "preset"), model)


def test_what_cannot_be_quantized_is_told_before_anything_is_changed(build):
    classifier = make("classifier", build)
    for mode in ("float8", "gptq", "awq", "int3", None):
        with pytest.raises(ValueError, match=r"^[^\n]+$"):
            classifier.quantize(mode)
    with pytest.raises(InputError, match=r"float8; expected int8 or int4.*--precision int8"):
        classifier.quantize("float8")
    with pytest.raises(InputError, match="filters that fit none of the 7 layers"):
        classifier.quantize("int8", filters="query")
    assert integers(classifier) == 0
    classifier.quantize("int8", filters="qkv")
    with pytest.raises(InputError, match="2 layers quantized to int8 already, such as stage"):
        classifier.quantize("int8")
    assert integers(classifier) == 2
    halves = kem.models.TiCBackbone(
        hidden_dims=(8,), depths=(1,), num_heads=(1,), kernel_size=3, dtype="mixed_float16"
    )
    halves = make_classifier(halves)
    with pytest.raises(ValueError, match="float16"):
        halves.quantize("int8")
    with pytest.raises(InputError, match="3 layers that compute in float16"):
        halves.quantize("int4")
    assert integers(halves) == 0


def test_what_a_quantized_model_cannot_do_is_told(build, tmp_path):
    segmenter = build.plain_segmenter()
    segmenter.quantize("int8")
    with pytest.raises(
        InputError, match=r"add_modality\(\) for a model with .* quantize the result"
    ):
        segmenter.add_modality("new")
    with pytest.raises(InputError, match=r"format onnx for a model with .* quantized to int8"):
        segmenter.export_for("onnx", tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []
    classifier = make("classifier", build)
    classifier.quantize("int8")
    classifier.save_to_preset(tmp_path / "whole")
    for new in ({"num_classes": 3}, {"class_names": ("a", "b", "c")}):
        with pytest.raises(InputError, match="a new head for a model with 7 layers quantized"):
            type(classifier).from_preset(tmp_path / "whole", **new)
    # With a head that is not, it learns.
    classifier = make("classifier", build)
    classifier.quantize("int8", filters="qkv|dense_")
    classifier.save_to_preset(tmp_path / "body")
    fresh = type(classifier).from_preset(tmp_path / "body", num_classes=3)
    assert integers(fresh) == 6 and fresh.output_dense.kernel.trainable


@pytest.mark.slow_on("jax")
def test_networks_of_further_targets_are_quantized(build, tmp_path):
    backbone = build.backbone(
        build.encoder(
            hidden_dims=(8, 8), depths=(1, 1), num_heads=(2,), window_sizes=(4,), strides=(2,)
        ),
        transformer_depth=1,
        targets={"skin": ("mole", "hair"), "eye": ("cup", "disc")},
    )
    segmenter = build.randomize(build.segmenter(backbone))
    inputs = {"images": IMAGES, "modalities": np.array([2, 1], "int32")}
    exact = np.asarray(build.run(segmenter, inputs)["masks"])
    segmenter.quantize("int8")
    assert sum("/target_" in one.path for one in quantized_layers(segmenter)) == 6
    found = np.asarray(build.run(segmenter, inputs)["masks"])
    np.testing.assert_array_equal(np.isneginf(found), np.isneginf(exact))
    assert np.isneginf(found[1, ..., 1]).all()
    open_ = np.isfinite(exact)
    assert 0 < np.abs(found - exact)[open_].mean() < 0.1 * np.abs(exact[open_]).max()
    segmenter.save_to_preset(str(tmp_path / "preset"))
    loaded = type(segmenter).from_preset(str(tmp_path / "preset"))
    assert_same(segmenter, loaded)
    single = segmenter.specialize("eye")
    assert sum("/target_" in one.path for one in quantized_layers(single)) == 3
    alone = build.run(single, {"images": IMAGES[:1]})["masks"]
    np.testing.assert_allclose(alone, found[:1], rtol=1e-4, atol=1e-4)


@pytest.mark.slow_on("jax")
def test_specialized_and_folded_it_gives_the_same(build):
    segmenter = make("segmenter", build)
    segmenter.quantize("int8")
    single = segmenter.specialize("lung")
    assert integers(single) == integers(segmenter)
    modalities = np.array([1, 1], "int32")
    expected = build.run(segmenter, {"images": IMAGES, "modalities": modalities})["masks"]
    np.testing.assert_allclose(
        build.run(single, {"images": IMAGES})["masks"], expected, rtol=1e-4, atol=1e-4
    )
    folded = segmenter.fold()
    assert integers(folded) == integers(segmenter)
    found = build.run(folded, {"images": IMAGES, "modalities": modalities})["masks"]
    # Rounding may take an activation to the next of its 255 steps.
    assert np.abs(np.asarray(found) - np.asarray(expected)).mean() < 0.01


@pytest.mark.slow_on("jax")
@pytest.mark.parametrize("before", [False, True])
def test_what_is_not_an_integer_can_be_trained(build, before, tmp_path):
    classifier = make("classifier", build)
    # TensorFlow's tracing takes most of the time, and is tried by the verbs that say how to run.
    classifier.compile(
        keras.optimizers.SGD(0.01, momentum=0.5),
        run_eagerly=keras.backend.backend() == "tensorflow",
    )
    images, labels = np.stack([IMAGE, IMAGE[::-1]]), np.array([0, 1])
    if before:
        classifier.fit(images, labels, verbose=0)
    classifier.quantize("int8")
    held = {id(weight): build.array(weight).copy() for weight in classifier.weights}
    classifier.fit(images, labels, verbose=0)
    for weight in classifier.weights:
        if weight.dtype == "int8":
            np.testing.assert_array_equal(build.array(weight), held[id(weight)])
    trained = classifier.output_dense.bias
    assert (build.array(trained) != held[id(trained)]).any()
    classifier.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert_same(loaded, classifier)
    for one, other in zip(loaded.optimizer.variables, classifier.optimizer.variables, strict=True):
        np.testing.assert_array_equal(build.array(one), build.array(other))
