"""Every verb of Keras and keras-hub does the right thing, or is refused in one sentence.

`tools/keras_verbs.py` runs this on each backend and writes docs/reference/keras_verbs.md of it: one
row per verb, with what the verb's function gives, or "as in Keras".
"""

import copy
import pickle
import re

import keras
import keras_hub
import numpy as np
import pytest

import keras_espmedsam as kem
from keras_espmedsam.errors import InputError
from keras_espmedsam.models.quantization import quantized_layers

TASKS = ("segmenter", "classifier")
BACKBONES = ("backbone", "tiny_vit", "tic", "vit_med")
ALL = TASKS + BACKBONES
IMAGES = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), dtype="uint8")
MASKS = (np.random.default_rng(1).random((4, 64, 64, 1)) > 0.5).astype("uint8")
LABELS = np.array([0, 1, 0, 1])
TORCH = keras.backend.backend() == "torch"
TENSORFLOW = keras.backend.backend() == "tensorflow"
_VERBS = []


def verb(name, kinds=ALL, marks=()):
    """Register a function of `(model, kind, build, tmp_path)` as what shows a verb."""

    def register(function):
        for kind in kinds:
            # The two tasks share their code, and `backbone` holds a TinyViT: PyTorch shows both.
            known = kind in ("classifier", "tiny_vit")
            slow = [pytest.mark.slow_on("jax", "tensorflow")] if known else []
            _VERBS.append(
                pytest.param(
                    name,
                    kind,
                    function,
                    id=f"{function.__name__}-{kind}",
                    marks=[*(marks if isinstance(marks, list | tuple) else [marks]), *slow],
                )
            )
        return function

    return register


def make(kind, build):
    """Small models with all parts that matter; one convolution is the segmenter's encoder."""
    models = kem.models
    if kind == "segmenter":
        model = build.plain_segmenter()
    elif kind == "classifier":
        converter = models.TiCImageConverter(image_size=(64, 64))
        model = models.TiCImageClassifier(
            make_tic(stages=1),  # The backbone "tic" has two.
            class_names=("eye", "lung"),
            preprocessor=models.TiCImageClassifierPreprocessor(converter),
        )
    elif kind == "backbone":
        model = build.backbone(make_tiny(build), transformer_depth=1)
    elif kind == "tiny_vit":
        model = make_tiny(build)
    elif kind == "tic":
        model = make_tic()
    else:
        model = models.ViTMedBackbone(
            hidden_dim=8,
            depth=1,
            num_heads=2,
            neck_dim=8,
            patch_size=16,
            global_indices=(0,),
            image_shape=(64, 64, 3),
        )
    return build.randomize(model)


def make_tiny(build):
    return build.encoder(
        hidden_dims=(8, 8), depths=(1, 1), num_heads=(2,), window_sizes=(4,), strides=(2,)
    )


def make_tic(stages=2):
    return kem.models.TiCBackbone(
        hidden_dims=(8,) * stages,
        depths=(1,) * stages,
        num_heads=(1, 2)[-stages:],
        kernel_size=3,
    )


def outputs(model, kind, build):
    """Of the network itself, without preprocessing."""
    x = np.random.default_rng(0).normal(size=(2, 64, 64, 3)).astype("float32")
    if kind in ("segmenter", "backbone", "tiny_vit"):
        x = {"images": x, "modalities": np.array([0, 1], "int32")}
    y = build.run(model, x)
    return np.asarray(y["masks"] if isinstance(y, dict) else y, "float32")


def data(kind):
    if kind == "classifier":
        return IMAGES, LABELS
    return {"images": IMAGES, "modalities": np.array([0, 1, 2, 0])}, MASKS


def rows(x, wanted):
    return {name: value[wanted] for name, value in x.items()} if isinstance(x, dict) else x[wanted]


def compiled(model, optimizer=None, **options):
    """Compiled as a user does, but for TensorFlow's tracing, which takes most of these tests' time.

    What a trace changes is tried by the verbs that say how a model is run.
    """
    keras.utils.set_random_seed(3)
    if TENSORFLOW and not {"run_eagerly", "jit_compile", "steps_per_execution"} & set(options):
        options["run_eagerly"] = True
    model.compile(optimizer or keras.optimizers.SGD(1e-3), **options)
    return model


def fit(model, kind, epochs=1, **options):
    x, y = data(kind)
    return model.fit(x, y, batch_size=2, epochs=epochs, verbose=0, shuffle=False, **options).history


def values(model):
    return [np.array(keras.ops.convert_to_numpy(weight)) for weight in model.weights]


def assert_same(one, other, tolerance=0):
    assert type(one) is type(other)
    for a, b in zip(values(one), values(other), strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


def refusal(error):
    """The one sentence in which something is refused."""
    sentence = str(error.value)
    assert "\n" not in sentence.strip()
    return "refused: " + sentence


# === Copies and files ===


@verb("`keras.models.clone_model`")
def clone_model(model, kind, build, tmp_path):
    clone = keras.models.clone_model(model)
    assert type(clone) is type(model)
    assert not {id(w) for w in clone.weights} & {id(w) for w in model.weights}
    clone.set_weights(model.get_weights())
    assert_same(clone, model)
    if kind in TASKS:
        assert clone.preprocessor is not model.preprocessor
        assert clone.preprocessor.get_config() == model.preprocessor.get_config()
        assert clone.compiled and type(clone.optimizer) is type(model.optimizer)
    return "a model of the same class"


@verb("`clone_model(clone_function=)`", ("segmenter", "tic"))
def clone_function(model, kind, build, tmp_path):
    with pytest.raises(InputError, match="would lose its class") as error:
        keras.models.clone_model(model, clone_function=lambda layer: layer)
    plain = keras.Model(model.input, model.output)
    copied = keras.models.clone_model(
        plain, clone_function=lambda layer: type(layer).from_config(layer.get_config())
    )
    assert len(copied.weights) == len(model.weights)
    # Other people's models are cloned as ever.
    dense = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
    assert type(keras.models.clone_model(dense, clone_function=lambda x: x)) is keras.Sequential
    return refusal(error)


@verb("`get_config`, `from_config`, `to_json`, `serialize_keras_object`, `get_weights`")
def configuration(model, kind, build, tmp_path):
    for twin in (
        type(model).from_config(model.get_config()),
        keras.models.model_from_json(model.to_json()),
        keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(model)),
    ):
        twin.set_weights(model.get_weights())
        assert_same(twin, model)


@verb("`copy.deepcopy`, `pickle`", ("segmenter", "classifier", "tiny_vit"))
def copies(model, kind, build, tmp_path):
    assert_same(copy.deepcopy(model), model)
    assert_same(pickle.loads(pickle.dumps(model)), model)


@verb("`save`, `load_model` of a .keras file")
def keras_file(model, kind, build, tmp_path):
    model.save(tmp_path / "model.keras")
    assert_same(keras.saving.load_model(tmp_path / "model.keras"), model)


@verb("`save`, `load_model` of a legacy .h5 file", TASKS)
def h5_file(model, kind, build, tmp_path):
    model.save(tmp_path / "model.h5")
    assert_same(keras.saving.load_model(tmp_path / "model.h5"), model)


@verb("`save_weights`, `load_weights`")
def weights_file(model, kind, build, tmp_path):
    model.save_weights(tmp_path / "model.weights.h5")
    twin = type(model).from_config(model.get_config())
    twin.load_weights(tmp_path / "model.weights.h5")
    assert_same(twin, model)


@verb("`summary`, `get_layer`, `layers`, `count_params`, `trainable`")
def inspection(model, kind, build, tmp_path):
    lines = []
    model.summary(print_fn=lambda text, **_: lines.append(text))
    assert re.search(r"Total params:\s*" + re.escape(f"{model.count_params():,}"), "\n".join(lines))
    assert model.count_params() == sum(value.size for value in values(model))
    for layer in model.layers:
        assert model.get_layer(layer.name) is layer
    model.trainable = False
    assert not model.trainable_variables
    model.trainable = True
    assert model.trainable_variables


@verb("`plot_model`, `model_to_dot`", ("segmenter",))
def plot_model(model, kind, build, tmp_path):
    try:
        import pydot  # noqa: F401
    except ImportError:
        with pytest.raises(ImportError, match="You must install pydot") as error:
            keras.utils.plot_model(model, to_file=str(tmp_path / "model.png"))
        return refusal(error)
    keras.utils.model_to_dot(model)
    return None


# === Presets ===


@verb("`save_to_preset`, `from_preset`, also of keras-hub's base class, `load_weights=False`")
def presets(model, kind, build, tmp_path):
    model.save_to_preset(tmp_path / "preset")
    assert_same(type(model).from_preset(tmp_path / "preset"), model)
    bases = {
        "segmenter": keras_hub.models.ImageSegmenter,
        "classifier": keras_hub.models.ImageClassifier,
    }
    base = bases.get(kind, keras_hub.models.Backbone)
    assert_same(base.from_preset(str(tmp_path / "preset")), model)
    empty = type(model).from_preset(tmp_path / "preset", load_weights=False)
    assert len(empty.weights) == len(model.weights)
    assert any((a != b).any() for a, b in zip(values(empty), values(model), strict=True))
    assert all(np.isfinite(value).all() for value in values(empty))


@verb("`upload_preset` to an address that is none", ("segmenter",))
def upload_preset(model, kind, build, tmp_path):
    model.save_to_preset(tmp_path / "preset")
    with pytest.raises(ValueError, match="Unknown URI"):
        keras_hub.upload_preset("name", str(tmp_path / "preset"))
    return "as in keras-hub"


@verb("`from_preset` with an argument that does not exist")
def unknown_argument(model, kind, build, tmp_path):
    model.save_to_preset(tmp_path / "preset")
    with pytest.raises(InputError, match=r"'load_weight' for .*; did you mean load_weights\?") as e:
        type(model).from_preset(tmp_path / "preset", load_weight=False)
    return refusal(e)


DTYPES = {"float16": 0.03, "bfloat16": 0.15, "mixed_float16": 0.03, "mixed_bfloat16": 0.15}


@verb(
    "`from_preset(dtype=)`: float16, bfloat16, mixed_float16, mixed_bfloat16; saved so again",
    ("segmenter", "classifier", "tiny_vit"),
    pytest.mark.slow_on("jax", "tensorflow"),
)
def dtypes(model, kind, build, tmp_path):
    expected = outputs(model, kind, build)
    model.save_to_preset(tmp_path / "preset")
    for dtype, tolerance in DTYPES.items():
        cast = type(model).from_preset(tmp_path / "preset", dtype=dtype)
        assert cast.dtype_policy.name == dtype
        found = outputs(cast, kind, build)
        assert np.abs(found - expected).max() < tolerance * np.abs(expected).max()
        cast.save(tmp_path / "model.keras")
        loaded = keras.saving.load_model(tmp_path / "model.keras")
        assert loaded.dtype_policy.name == dtype
        # A preset is loaded in the current precision, whatever it was saved in.
        cast.save_to_preset(tmp_path / dtype)
        again = type(model).from_preset(tmp_path / dtype)
        assert again.dtype_policy.name == "float32"
        for one, other in zip(values(again), values(cast), strict=True):
            np.testing.assert_array_equal(one, other.astype("float32"))
        if kind == "segmenter":
            base = keras_hub.models.ImageSegmenter.from_preset(str(tmp_path / dtype))
            assert base.dtype_policy.name == "float32"


@verb("`keras.config.set_dtype_policy`", ("segmenter", "classifier", "tiny_vit"))
def global_policy(model, kind, build, tmp_path):
    model.save_to_preset(tmp_path / "preset")
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        loaded = type(model).from_preset(tmp_path / "preset")
        fresh = make(kind, build)
    finally:
        keras.config.set_dtype_policy("float32")
    assert loaded.dtype_policy.name == fresh.dtype_policy.name == "mixed_bfloat16"
    assert_same(loaded, model)


@verb("`from_preset(image_shape=)`")
def image_shape(model, kind, build, tmp_path):
    if kind == "segmenter":  # Whose encoder, a plain model, takes one size alone.
        model = build.segmenter(build.backbone(make_tiny(build), transformer_depth=1))
    model.save_to_preset(tmp_path / "preset")
    shape = (64, 64, 3) if kind == "vit_med" else (96, 64, 3)
    loaded = type(model).from_preset(tmp_path / "preset", image_shape=shape)
    inputs = loaded.input
    assert (inputs["images"] if isinstance(inputs, dict) else inputs).shape[1:] == shape
    assert_same(loaded, model)
    if kind in TASKS:
        assert loaded.preprocessor.image_converter.image_size == (96, 64)
        x = {"images": IMAGES[:1], "modalities": ["eye"]} if kind == "segmenter" else IMAGES[:1]
        found = loaded.predict(x, verbose=0)
        assert kind == "classifier" or found["masks"].shape == (1, 96, 64, 1)
        open_ = type(model).from_preset(tmp_path / "preset", image_shape=(None, None, 3))
        assert open_.preprocessor.image_converter.image_size == (64, 64)
    return "model and preprocessor have the size"


@verb("`from_preset(image_shape=)` of another number of channels, or no size")
def wrong_image_shape(model, kind, build, tmp_path):
    model.save_to_preset(tmp_path / "preset")
    for shape in ((64, 64, 1), (64, 64), 64, (0, 64, 3)):
        with pytest.raises(InputError, match=r"expected \(height, width, 3\)") as error:
            type(model).from_preset(tmp_path / "preset", image_shape=shape)
    if kind == "backbone":
        with pytest.raises(InputError, match=r"100 x 64 pixels; expected .* multiples of 32"):
            type(model).from_preset(tmp_path / "preset", image_shape=(100, 64, 3))
    return refusal(error)


@verb("`from_preset(num_classes=)`", ("classifier",))
def num_classes(model, kind, build, tmp_path):
    model.save_to_preset(tmp_path / "preset")
    loaded = type(model).from_preset(tmp_path / "preset", num_classes=3)
    assert loaded.output_shape == (None, 3) and loaded.class_names is None
    assert_same(loaded.backbone, model.backbone)
    return "a new head"


@verb("`image_data_format` channels_first in keras.json", ("segmenter", "classifier", "vit_med"))
def channels_first(model, kind, build, tmp_path):
    expected = outputs(model, kind, build)
    if kind == "segmenter":  # Of our own layers alone.
        model = build.randomize(
            build.segmenter(build.backbone(make_tiny(build), transformer_depth=1))
        )
        expected = outputs(model, kind, build)
    model.save_to_preset(tmp_path / "preset")
    keras.config.set_image_data_format("channels_first")
    try:
        loaded = type(model).from_preset(tmp_path / "preset")
        assert_same(loaded, model)
        found = outputs(loaded, kind, build)
        if kind in TASKS:
            shape = loaded.preprocessor.image_converter(IMAGES).shape
            assert tuple(shape) == (4, 64, 64, 3)
    finally:
        keras.config.set_image_data_format("channels_last")
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    return "channels last all the same"


@verb("`keras.config.enable_flash_attention`", ("segmenter", "vit_med"))
def flash_attention(model, kind, build, tmp_path):
    expected = outputs(model, kind, build)
    keras.config.enable_flash_attention()
    try:
        clone = keras.models.clone_model(model)
        clone.set_weights(model.get_weights())
        found = outputs(clone, kind, build)
    finally:
        keras.config.disable_flash_attention()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@verb('`quantize("int8")`, then files and presets')
def quantize(model, kind, build, tmp_path):
    model.quantize("int8")
    assert quantized_layers(model)
    model.save(tmp_path / "model.keras")
    assert_same(keras.saving.load_model(tmp_path / "model.keras"), model)
    model.save_to_preset(tmp_path / "preset")
    assert_same(type(model).from_preset(tmp_path / "preset"), model)


@verb('`quantize("float8")`')
def quantize_float8(model, kind, build, tmp_path):
    with pytest.raises(InputError, match="expected int8 or int4") as error:
        model.quantize("float8")
    return refusal(error)


# === Training ===


@verb("`compile(run_eagerly=True)`", TASKS, pytest.mark.slow_on("jax"))
def run_eagerly(model, kind, build, tmp_path):
    other = keras.models.clone_model(model)
    other.set_weights(model.get_weights())
    fit(compiled(model, run_eagerly=False), kind)
    fit(compiled(other, run_eagerly=True), kind)
    assert_same(other, model, 1e-5)


# On JAX it is how all is compiled.
@verb("`compile(jit_compile=True)`", TASKS, pytest.mark.slow_on("jax"))
def jit_compile(model, kind, build, tmp_path):
    if TORCH:
        with pytest.raises(InputError, match="TorchDynamo cannot compile") as error:
            compiled(model, jit_compile=True)
        return refusal(error)
    other = keras.models.clone_model(model)
    other.set_weights(model.get_weights())
    fit(compiled(model), kind)
    fit(compiled(other, jit_compile=True), kind)
    assert_same(other, model, 1e-4)


@verb("`compile(steps_per_execution=)`", TASKS)
def steps_per_execution(model, kind, build, tmp_path):
    other = keras.models.clone_model(model)
    other.set_weights(model.get_weights())
    if TORCH:
        with pytest.raises(ValueError, match="must be 1 with the PyTorch backend") as error:
            fit(compiled(other, steps_per_execution=2), kind)
        return refusal(error)
    fit(compiled(model), kind)
    fit(compiled(other, steps_per_execution=2), kind)
    assert_same(other, model, 1e-5)
    return None


@verb(
    "`fit`: `validation_split`, `initial_epoch`, and the callbacks `ModelCheckpoint` (weights and "
    "whole model), `CSVLogger`, `TensorBoard`, `LearningRateScheduler`, `LambdaCallback`",
    TASKS,
)
def callbacks(model, kind, build, tmp_path):
    seen = []
    of_keras = keras.callbacks
    history = fit(
        compiled(model, keras.optimizers.Adam(1e-3)),
        kind,
        epochs=3,
        initial_epoch=1,
        validation_split=0.5,
        callbacks=[
            of_keras.ModelCheckpoint(tmp_path / "model.weights.h5", save_weights_only=True),
            of_keras.ModelCheckpoint(tmp_path / "model.keras"),
            of_keras.CSVLogger(tmp_path / "log.csv"),
            of_keras.TensorBoard(tmp_path / "board", histogram_freq=1),
            of_keras.LearningRateScheduler(lambda epoch, rate: 1e-3 / (epoch + 1)),
            of_keras.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(epoch)),
        ],
    )
    assert seen == [1, 2] and len(history["val_loss"]) == 2
    np.testing.assert_allclose(history["learning_rate"], [1e-3 / 2, 1e-3 / 3], rtol=1e-5)
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 3
    assert list((tmp_path / "board").rglob("events*"))
    whole = keras.saving.load_model(tmp_path / "model.keras")
    assert_same(whole, model)
    for one, other in zip(whole.optimizer.variables, model.optimizer.variables, strict=True):
        np.testing.assert_array_equal(build.array(one), build.array(other))
    twin = keras.models.clone_model(model)
    twin.load_weights(tmp_path / "model.weights.h5")
    assert_same(twin, model)


@verb("`EarlyStopping(restore_best_weights=True)`, `ReduceLROnPlateau`", TASKS)
def early_stopping(model, kind, build, tmp_path):
    x, y = data(kind)
    # Away from where it is, so that the first epoch is the best.
    compiled(model, keras.optimizers.SGD(50.0))
    plateau = keras.callbacks.ReduceLROnPlateau("loss", factor=0.5, patience=1, min_delta=1e9)
    stopping = keras.callbacks.EarlyStopping("val_loss", patience=1, restore_best_weights=True)
    history = fit(model, kind, epochs=5, validation_split=0.5, callbacks=[stopping, plateau])
    found = model.evaluate(rows(x, slice(2, 4)), y[2:], verbose=0, return_dict=True)
    assert found["loss"] == pytest.approx(min(history["val_loss"]), rel=1e-4)
    epochs = len(history["loss"])
    assert history["learning_rate"][0] == 50.0
    assert epochs < 3 or history["learning_rate"][2] == 25.0


@verb("`BackupAndRestore`: killed and resumed equals undisturbed", TASKS)
def backup_and_restore(model, kind, build, tmp_path):
    class Kill(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                raise KeyboardInterrupt

    killed, resumed = keras.models.clone_model(model), keras.models.clone_model(model)
    for other in (killed, resumed):
        other.set_weights(model.get_weights())
    for other in (model, killed, resumed):
        compiled(other, keras.optimizers.Adam(1e-3))
    fit(model, kind, epochs=2)
    with pytest.raises(KeyboardInterrupt):
        backup = keras.callbacks.BackupAndRestore(str(tmp_path / "backup"))
        fit(killed, kind, epochs=2, callbacks=[backup, Kill()])
    backup = keras.callbacks.BackupAndRestore(str(tmp_path / "backup"))
    assert len(fit(resumed, kind, epochs=2, callbacks=[backup])["loss"]) == 1
    assert_same(resumed, model, 1e-6)


@verb("`SwapEMAWeights`, `TerminateOnNaN`", TASKS)
def averages(model, kind, build, tmp_path):
    compiled(model, keras.optimizers.SGD(1e-2, use_ema=True, ema_momentum=0.5))
    trained, tested = [], []

    class Look(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            trained.append(values(self.model))

        def on_test_begin(self, logs=None):
            tested.append(values(self.model))

    swap = keras.callbacks.SwapEMAWeights()
    nan = keras.callbacks.TerminateOnNaN()
    fit(model, kind, epochs=2, validation_split=0.5, callbacks=[swap, Look(), nan])
    assert any((a != b).any() for a, b in zip(trained[-1], tested[-1], strict=True))
    # Keras ends a training with averages in the model.
    for one, other in zip(tested[-1], values(model), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-7)
    compiled(model, keras.optimizers.SGD(1e30))
    assert len(fit(model, kind, epochs=4, callbacks=[keras.callbacks.TerminateOnNaN()])["loss"]) < 4


@verb("`class_weight`, `sample_weight`", TASKS, pytest.mark.slow_on("jax"))
def weighted(model, kind, build, tmp_path):
    x, y = data(kind)
    compiled(model, keras.optimizers.SGD(0.0))
    half = model.test_on_batch(
        rows(x, slice(0, 2)), y[:2], sample_weight=np.array([1.0, 0.0]), return_dict=True
    )["loss"]
    model.reset_metrics()
    alone = model.test_on_batch(rows(x, slice(0, 1)), y[:1], return_dict=True)["loss"]
    # Of two images, as Keras divides.
    assert 2 * float(half) == pytest.approx(float(alone), rel=1e-4)
    loss = fit(model, kind)["loss"][0]
    doubled = fit(model, kind, class_weight={0: 2.0, 1: 2.0})["loss"][0]
    assert doubled == pytest.approx(2 * loss, rel=1e-4)
    with pytest.raises(InputError, match="class_weight"):
        fit(model, kind, class_weight={7: 1.0})


@verb("`train_on_batch`, `test_on_batch`, `predict_on_batch`, `compute_loss`", TASKS)
def on_batch(model, kind, build, tmp_path):
    x, y = data(kind)
    compiled(model)
    expected = model.evaluate(x, y, batch_size=4, verbose=0, return_dict=True)["loss"]
    model.reset_metrics()
    found = model.test_on_batch(x, y, return_dict=True)["loss"]
    assert float(found) == pytest.approx(expected, rel=1e-5)
    prepared, targets = model.prepare_batch(x, y)[:2]
    loss = model.compute_loss(x=prepared, y=targets, y_pred=build.run(model, prepared))
    assert float(build.array(loss)) == pytest.approx(expected, rel=1e-4)
    predicted, alone = model.predict(x, verbose=0), model.predict_on_batch(x)
    if kind == "segmenter":
        predicted, alone = predicted["masks"], alone["masks"]
    np.testing.assert_allclose(predicted, build.array(alone), rtol=1e-5, atol=1e-5)
    model.reset_metrics()
    first = model.train_on_batch(x, y, return_dict=True)["loss"]
    if kind == "segmenter":  # The classifier has BatchNorm, and other statistics in training.
        assert float(first) == pytest.approx(expected, rel=1e-4)


SOURCES = ("a generator", "PyDataset", "tf.data", "grain", "DataLoader")


@verb(f"`predict` and `evaluate` on {', '.join(SOURCES)}", TASKS)
def sources(model, kind, build, tmp_path):
    x, y = data(kind)
    compiled(model)
    expected = model.predict(x, batch_size=2, verbose=0)
    loss = model.evaluate(x, y, batch_size=2, verbose=0, return_dict=True)["loss"]

    def generate():
        for start in (0, 2):
            yield rows(x, slice(start, start + 2)), y[start : start + 2]

    for name in SOURCES:
        make_source = generate if name == "a generator" else lambda n=name: build.source(n, x, y)
        found = model.predict(make_source(), verbose=0)
        one, other = (
            (found["masks"], expected["masks"]) if kind == "segmenter" else (found, expected)
        )
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)
        evaluated = model.evaluate(make_source(), verbose=0, return_dict=True)
        assert evaluated["loss"] == pytest.approx(loss, rel=1e-5)


@verb("training in mixed_float16, with loss scaling", TASKS)
def mixed_training(model, kind, build, tmp_path):
    model.save_to_preset(tmp_path / "preset")
    loaded = type(model).from_preset(tmp_path / "preset", dtype="mixed_float16")
    compiled(loaded, keras.optimizers.SGD(1e-4))
    assert type(loaded.optimizer).__name__ == "LossScaleOptimizer"
    expected = fit(compiled(model, keras.optimizers.SGD(1e-4)), kind)["loss"][0]
    assert fit(loaded, kind)["loss"][0] == pytest.approx(expected, rel=0.02)


@verb("`keras_tuner.RandomSearch`", TASKS, pytest.mark.slow_on("jax", "tensorflow"))
def tuner(model, kind, build, tmp_path):
    keras_tuner = pytest.importorskip("keras_tuner", reason="comes with the dev extra")
    x, y = data(kind)

    def hypermodel(parameters):
        rate = parameters.Choice("learning_rate", [1e-4, 1e-3])
        return compiled(make(kind, build), keras.optimizers.SGD(rate))

    search = keras_tuner.RandomSearch(
        hypermodel, "val_loss", max_trials=2, directory=tmp_path, project_name="search", seed=0
    )
    search.search(x, y, validation_split=0.5, batch_size=2, epochs=1, verbose=0)
    best = search.get_best_models(1)[0]
    assert type(best) is type(model)
    losses = [trial.score for trial in search.oracle.trials.values()]
    assert len(losses) == 2
    found = best.evaluate(rows(x, slice(2, 4)), y[2:], verbose=0, return_dict=True)["loss"]
    assert found == pytest.approx(min(losses), rel=1e-4)


@pytest.mark.parametrize(("name", "kind", "function"), _VERBS)
def test_verb(name, kind, function, build, tmp_path, record_property):
    record_property("verb", name)
    record_property("model", kind)
    outcome = function(make(kind, build), kind, build, tmp_path)
    record_property("outcome", outcome or "as in Keras")
