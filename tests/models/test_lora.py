"""LoRA: which layers are adapted, what is trained, files, and merging."""

import h5py
import keras
import numpy as np
import pytest

import keras_espmedsam as kem
from keras_espmedsam.errors import InputError
from keras_espmedsam.models.lora import KERNELS, lora_layers

IMAGES = np.random.default_rng(0).normal(size=(2, 64, 64, 3)).astype("float32")
MODALITIES = np.array([0, 1], "int32")
PARTS = ("tiny_vit", "tic")
# How many layers are adapted by default.
KINDS = {"segmenter": 20, "classifier": 6, "tiny_vit": 4, "tic": 6, "vit_med": 8}
# The backbones of the first two are tried with those on every backend, by themselves on PyTorch.
every_kind = pytest.mark.parametrize(
    "kind",
    [
        pytest.param(kind, marks=[pytest.mark.slow_on("jax", "tensorflow")] * (kind in PARTS))
        for kind in KINDS
    ],
)


def make(kind, build):
    models = kem.models
    if kind == "segmenter":
        return build.randomize(build.segmenter(make_backbone(build)))
    if kind == "classifier":
        converter = models.TiCImageConverter(image_size=(64, 64))
        return build.randomize(
            models.TiCImageClassifier(
                make("tic", build),
                class_names=("eye", "lung"),
                preprocessor=models.TiCImageClassifierPreprocessor(converter),
            )
        )
    if kind == "tiny_vit":
        return build.randomize(make_encoder(build))
    if kind == "tic":
        return build.randomize(
            models.TiCBackbone(hidden_dims=(8, 8), depths=(1, 1), num_heads=(1, 2), kernel_size=3)
        )
    return build.randomize(
        models.ViTMedBackbone(
            hidden_dim=8,
            depth=1,
            num_heads=2,
            neck_dim=8,
            patch_size=16,
            global_indices=(0,),
            image_shape=(64, 64, 3),
        )
    )


def make_encoder(build):
    return build.encoder(
        hidden_dims=(8, 8), depths=(1, 1), num_heads=(2,), window_sizes=(4,), strides=(2,)
    )


def make_backbone(build, **options):
    return build.backbone(make_encoder(build), transformer_depth=1, **options)


def backbone_of(model):
    return getattr(model, "backbone", model)


def adapted(kind, build, rank=2):
    """A model whose adapters change its outputs."""
    model = make(kind, build)
    backbone_of(model).enable_lora(rank)
    rng = np.random.default_rng(5)
    for variable in model.trainable_variables:
        variable.assign(rng.normal(scale=0.3, size=variable.shape).astype("float32"))
    return model


def outputs(model, build):
    x = IMAGES
    if isinstance(model.input, dict):
        x = {"images": IMAGES}
        if "modalities" in model.input:
            x["modalities"] = MODALITIES
    y = build.run(model, x)
    return np.asarray(y["masks"] if isinstance(y, dict) else y)


def assert_close(one, other, build, tolerance=1e-5):
    found, expected = outputs(one, build), outputs(other, build)
    scale = max(np.abs(expected).max(), 1)
    np.testing.assert_allclose(found / scale, expected / scale, rtol=0, atol=tolerance)


@every_kind
def test_adapters_alone_are_trained_and_begin_without_effect(kind, build):
    model = make(kind, build)
    before = outputs(model, build)
    backbone = backbone_of(model)
    backbone.enable_lora(2)
    assert len(lora_layers(backbone)) == KINDS[kind]
    assert {variable.name for variable in backbone.trainable_variables} == set(KERNELS)
    shapes = {tuple(layer.lora_kernel_a.shape)[1] for layer in lora_layers(backbone)}
    assert shapes == {2}
    if kind == "segmenter":
        names = {layer.name for layer in lora_layers(backbone.image_encoder)}
        assert names == {"qkv", "projection", "dense_1", "dense_2"}
    if kind == "classifier":  # The head is no part of the backbone: it is trained.
        assert len(model.trainable_variables) == 2 * KINDS[kind] + 4
    np.testing.assert_array_equal(outputs(model, build), before)


@every_kind
def test_files(kind, build, tmp_path):
    model = adapted(kind, build)
    path = tmp_path / "one.lora.h5"
    backbone_of(model).save_lora_weights(path)
    other = make(kind, build)
    expected = [build.array(v) for layer in lora_layers(model) for v in (layer.lora_kernel_a,)]
    for known in (False, True):  # Into a model without adapters, and into one that has some.
        if known:
            other = make(kind, build)
            backbone_of(other).enable_lora(2)
        backbone_of(other).load_lora_weights(path)
        assert {v.name for v in backbone_of(other).trainable_variables} == set(KERNELS)
        for layer, value in zip(lora_layers(other), expected, strict=True):
            np.testing.assert_array_equal(build.array(layer.lora_kernel_a), value)
    if kind == "classifier":
        for one, value in zip(other.weights, model.weights, strict=True):
            one.assign(build.array(value).copy())
    assert_close(other, model, build, 0)


@pytest.mark.parametrize(
    "kind",
    [
        "segmenter",
        "classifier",
        pytest.param("tic", marks=pytest.mark.slow_on("jax", "tensorflow")),  # The classifier's.
    ],
)
def test_what_is_saved_has_them_merged(kind, build, tmp_path):
    model = adapted(kind, build)
    model.save(tmp_path / "model.keras")
    model.save_to_preset(tmp_path / "preset")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    for other in (loaded, type(model).from_preset(tmp_path / "preset")):
        assert_close(other, model, build)
        assert not lora_layers(other)
        assert len(other.trainable_variables) > len(model.trainable_variables)
    # And is loaded again into the model with adapters, which can go on learning.
    model.save_weights(tmp_path / "model.weights.h5")
    model.load_weights(tmp_path / "model.weights.h5")
    assert_close(model, loaded, build)
    for layer in lora_layers(model):
        assert build.array(layer.lora_kernel_a).any() and not build.array(layer.lora_kernel_b).any()


@pytest.mark.parametrize("kind", ["segmenter", "classifier"])
def test_folding_merges_them(kind, build):
    model = adapted(kind, build)
    assert_close(model.fold(), model, build)
    assert not lora_layers(model.fold())


@pytest.mark.slow_on("jax")
def test_specialize_and_add_modality_merge_them(build):
    model = adapted("segmenter", build)
    expected = outputs(model, build)
    np.testing.assert_allclose(outputs(model.specialize(1), build)[1], expected[1], atol=1e-4)
    np.testing.assert_allclose(outputs(model.add_modality("new"), build), expected, atol=1e-4)


@pytest.mark.slow_on("jax")
@pytest.mark.parametrize("shared_hypernetwork", [True, False])
def test_modalities_stay_decoupled(shared_hypernetwork, build):
    """Training on one modality leaves what belongs to the others bit for bit as it is."""
    backbone = make_backbone(build, shared_hypernetwork=shared_hypernetwork)
    model = build.randomize(build.segmenter(backbone))
    backbone.enable_lora(2)
    for modality in model.modalities:
        for layer in backbone.controller_layers(modality):
            layer.trainable = True
    # Without TensorFlow's tracing, which the training of a model that is saved tries below.
    model.compile(keras.optimizers.Adam(1e-2), run_eagerly=keras.backend.backend() == "tensorflow")
    before = {v.path: build.array(v).copy() for v in model.variables}
    x = {"images": np.zeros((2, 64, 64, 3), "uint8") + 90, "modalities": np.array([1, 1])}
    model.fit(x, np.ones((2, 64, 64, 1), "uint8"), batch_size=2, verbose=0)
    moved = {v.path for v in model.variables if (build.array(v) != before[v.path]).any()}
    owners = {getattr(v, "modality", None) for v in model.variables if v.path in moved}
    assert owners == {None, 1}
    trained = {v.path for v in model.trainable_variables}
    assert moved <= trained and any("lora" in path for path in moved)


@pytest.mark.slow_on("jax")
def test_functions_traced_before_are_not_used(build):
    model = make("classifier", build)
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), "uint8")
    before = model.predict(images, verbose=0)
    model.backbone.enable_lora(2)
    for layer in lora_layers(model):
        layer.lora_kernel_b.assign(np.ones(layer.lora_kernel_b.shape, "float32"))
    found = model.predict(images, verbose=0)
    assert np.abs(found - before).max() > 1e-3
    prepared = model.prepare_batch(images)
    np.testing.assert_allclose(found, build.array(model(prepared)), rtol=1e-4, atol=1e-5)


def test_layers_by_name(build):
    encoder = make("tiny_vit", build)
    encoder.enable_lora(rank=3, target_layer_names=["qkv"])
    assert [layer.name for layer in lora_layers(encoder)] == ["qkv"]
    with pytest.raises(InputError, match=r"nothing, qvk of which fit .*among conv, dense_1"):
        make("tiny_vit", build).enable_lora(2, ["nothing", "qvk", "qkv"])
    with pytest.raises(InputError, match=r"target_layer_names=\[\]"):
        make("tiny_vit", build).enable_lora(2, [])


def test_an_encoder_of_the_users_own_is_not_left_out_without_a_word(build):
    image = keras.Input((64, 64, 3))
    x = keras.layers.Conv2D(16, 16, strides=16, name="stem")(image)
    encoder = keras.Model(image, keras.layers.Dense(16, name="mixer")(x))
    backbone = build.backbone(encoder, transformer_depth=1)
    with pytest.raises(InputError, match="give target_layer_names among its own: mixer, stem"):
        backbone.enable_lora(2)
    backbone.enable_lora(2, ["mixer", "query"])
    assert {layer.name for layer in lora_layers(backbone)} == {"mixer", "query"}
    # In a file they are merged, also of a layer whose own configuration would bring them back.
    assert not lora_layers(type(backbone).from_config(backbone.get_config()))


@pytest.mark.parametrize("rank", [0, -1, 1.5, "4", None, True])
def test_a_rank_that_is_none(rank, build):
    model = make("tic", build)
    with pytest.raises(InputError, match=r"^Received rank=.*; expected an int from 1 on\.$"):
        model.enable_lora(rank)
    assert not lora_layers(model) and len(model.trainable_variables) > 12


def test_what_cannot_be_is_told_before_anything_is_changed(build, tmp_path):
    model = adapted("tic", build)
    path = tmp_path / "one.lora.h5"
    model.save_lora_weights(path)
    with pytest.raises(InputError, match=r"enable_lora\(\) for a model with LoRA adapters in 6"):
        model.enable_lora(2)
    with pytest.raises(InputError, match=r"quantize\(\) for a model with LoRA adapters in 6"):
        model.quantize("int8")
    with pytest.raises(InputError, match=r"ends in \.lora\.h5"):
        model.save_lora_weights(tmp_path / "one.h5")
    with pytest.raises(InputError, match=r"without adapters; call enable_lora\(rank\)"):
        make("tic", build).save_lora_weights(path)
    other = make("tic", build)
    other.enable_lora(3)
    with pytest.raises(InputError, match="adapters of rank 2, and this model has some of rank 3"):
        other.load_lora_weights(path)
    with pytest.raises(InputError, match="6 layers, which are not those of this model"):
        make("vit_med", build).load_lora_weights(path)
    with pytest.raises(InputError, match=r"nowhere.lora.h5 cannot be used .*no such file"):
        make("tic", build).load_lora_weights(tmp_path / "nowhere.lora.h5")
    quantized = make("tic", build)
    quantized.quantize("int8")
    with pytest.raises(InputError, match="6 layers quantized to int8; take the model as it was"):
        quantized.enable_lora(2)


def test_damaged_files_of_adapters_are_one_sentence_and_change_nothing(build, tmp_path):
    path, secret = tmp_path / "some.lora.h5", tmp_path / "secret.h5"
    sound = make("tic", build)
    sound.enable_lora(2)
    sound.save_lora_weights(path)
    content = path.read_bytes()
    model = make("tic", build)
    before = array_of(model)
    with h5py.File(secret, "w") as file:
        file["a"] = np.ones((1, 2))

    def damaged(change, match):
        path.write_bytes(content)
        with h5py.File(path, "r+") as file:
            group = file["lora"]
            number = next(name for name in group if name != "vars")
            change(group, number, f"{number}/vars/{KERNELS[0]}")
        with pytest.raises(InputError, match=match) as caught:
            model.load_lora_weights(path)
        assert str(caught.value).isprintable() and len(str(caught.value)) < 1000
        assert not lora_layers(model)
        np.testing.assert_array_equal(array_of(model), before)

    def put(value):
        def change(group, number, kernel):
            del group[kernel]
            group[kernel] = value

        return change

    def not_a_number(group, number, kernel):
        group[kernel][0, 0] = np.nan

    def huge(group, number, kernel):
        del group[kernel]
        group.create_dataset(kernel, (10**10, 2), "float32", chunks=(1000, 2))

    damaged(not_a_number, "NaN or infinite values")
    damaged(put(np.array([b"text"])), "no real numbers|or no numbers")
    damaged(put(h5py.ExternalLink(str(secret), "a")), "links to another place")
    damaged(huge, "bytes are said to lie in")
    damaged(lambda group, number, _: group.move(number, "-1"), "which are not those of this model")
    damaged(lambda group, number, _: group.move(number, "first"), "cannot be read as adapters")
    for place in ("vars", "7"):
        path.write_bytes(content)
        with h5py.File(path, "r+") as file:
            if place in file["lora"]:
                del file["lora"][place]
            file["lora"][place] = 3.0  # an array where a group is expected
        with pytest.raises(InputError, match="cannot be read as adapters"):
            model.load_lora_weights(path)


def array_of(model):
    return np.concatenate([one.ravel() for one in model.get_weights()])


@pytest.mark.slow_on("jax")
def test_a_trained_model_with_adapters_is_saved_whole(build, tmp_path):
    model = make("classifier", build)
    model.backbone.enable_lora(2)
    model.compile(keras.optimizers.Adam(1e-2))
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), "uint8")
    model.fit(images, np.array([0, 1]), verbose=0)
    assert all(build.array(layer.lora_kernel_b).any() for layer in lora_layers(model))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert_close(loaded, model, build)
    loaded.run_eagerly = keras.backend.backend() == "tensorflow"  # It was traced above.
    loaded.fit(images, np.array([0, 1]), verbose=0)
