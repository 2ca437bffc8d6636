"""What is repeated is what the model gives, whatever is changed in between."""

import threading
import types

import keras
import numpy as np
import pytest

if keras.backend.backend() != "torch":
    pytest.skip("The other backends trace by themselves.", allow_module_level=True)

import torch

from keras_espmedsam.models import torch_capture
from keras_espmedsam.models.torch_capture import CapturedInference

TIMES = 4  # As ever, recorded, compared, repeated.

# No attribute: a layer that changes its own in a call is called each time.
_CALLS = {}


class Scale(keras.layers.Layer):
    """Counts its calls."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.factor = 2.0
        _CALLS[id(self)] = []

    def build(self, shape):
        self.scale = self.add_weight(shape=shape[1:], initializer="ones", name="scale")
        self.built = True

    def call(self, x):
        _CALLS[id(self)].append(threading.get_ident())
        return self.factor * self.scale * x


def make_model(*others):
    return keras.Sequential(
        [
            keras.Input((3,)),
            keras.layers.Dense(4, activation="tanh", name="dense"),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.5),
            *others,
            Scale(name="scale"),
            keras.layers.Dense(4, name="square"),
            keras.layers.Dense(2, name="head"),
        ]
    )


def images(seed, count=2, size=3):
    return np.random.default_rng(seed).normal(size=(count, size)).astype("float32")


@pytest.fixture(autouse=True)
def without_gradient():
    with torch.no_grad():
        yield


def warm(captured, model, count=2):
    for seed in range(TIMES):
        assert_gives(captured, model, images(seed, count))


def assert_gives(captured, model, x):
    expected = model(x, training=False)
    np.testing.assert_array_equal(captured(model, x).numpy(), expected.numpy())


def calls_in(model, function):
    calls = _CALLS[id(model.get_layer("scale"))]
    before = len(calls)
    function()
    return len(calls) - before


def is_repeated(captured, model, x):
    return calls_in(model, lambda: captured(model, x)) == 0


def test_the_model_runs_three_times_and_then_no_more():
    model, captured = make_model(), CapturedInference()
    found = [calls_in(model, lambda seed=seed: captured(model, images(seed))) for seed in range(6)]
    assert found == [1, 1, 1, 0, 0, 0]
    assert_gives(captured, model, images(9))


def test_one_image_again_and_again_is_repeated_and_another_is_compared():
    model, captured = make_model(), CapturedInference()
    found = [calls_in(model, lambda seed=seed: captured(model, images(seed))) for seed in [1] * 5]
    assert found == [1, 1, 1, 0, 0]
    assert [is_repeated(captured, model, images(seed)) for seed in (2, 1, 3)] == [False, True, True]


def test_a_program_that_is_right_for_one_image_alone_is_not_repeated(monkeypatch):
    def wrong(function, inputs, weights):
        outputs = function(inputs)
        return outputs, lambda _: outputs

    monkeypatch.setattr(torch_capture, "record", wrong)
    model, captured = make_model(), CapturedInference()
    for seed in (1, 1, 1, 1, 2, 3, 1, 2):
        assert_gives(captured, model, images(seed))
    assert not is_repeated(captured, model, images(1))


def _fitted(model):
    with torch.enable_grad():
        model.compile("adam", "mse")
        model.fit(images(7), np.zeros((2, 2)), verbose=0)


def _loaded(model):
    weights = [weight + 0.5 for weight in model.get_weights()]
    model.set_weights(weights)


def _other_parameter(model):
    weight = model.get_layer("scale").scale.value
    weight.data = torch.full_like(weight, 3.0)


def _transposed(model):
    weight = model.get_layer("square").kernel.value
    weight.data = weight.data.t()  # The same memory.


# Those of `SAME` change how the model computes, and its outputs little or not at all.
SAME = ("LoRA", "int8", "a dtype", "frozen", "moved")
CHANGES = {
    "fit": _fitted,
    "set_weights": _loaded,
    "assign": lambda model: model.get_layer("scale").scale.assign(np.full(4, -1.0)),
    "one entry": lambda model: model.get_layer("scale").scale.value[1].fill_(7.0),
    "moving statistics": lambda model: model.layers[1].moving_variance.assign(np.full(4, 9.0)),
    "tensor.data, in place": lambda model: model.get_layer("scale").scale.value.data.mul_(5),
    "tensor.data, another": _other_parameter,
    "tensor.data, other strides": _transposed,
    "LoRA": lambda model: model.get_layer("dense").enable_lora(1),
    "int8": lambda model: model.quantize("int8"),
    "an attribute": lambda model: setattr(model.get_layer("scale"), "factor", 3.0),
    "an activation": lambda model: setattr(model.get_layer("dense"), "activation", torch.relu),
    "a method": lambda model: setattr(model.get_layer("scale"), "call", lambda x: -x),
    "a dtype": lambda model: setattr(
        model.get_layer("head"), "dtype_policy", keras.DTypePolicy("mixed_bfloat16")
    ),
    "frozen": lambda model: setattr(model, "trainable", False),
    "moved": lambda model: model.to(torch.float64).to(torch.float32),
}


@pytest.mark.parametrize("name", CHANGES)
def test_the_next_call_sees_every_change(name):
    model, captured = make_model(), CapturedInference()
    warm(captured, model)
    assert is_repeated(captured, model, images(0))
    before = captured(model, images(0)).numpy()
    CHANGES[name](model)
    after = model(images(0), training=False).float().numpy()
    assert name in SAME or np.abs(after - before).max() > 1e-3
    for seed in (0, *range(TIMES)):
        found = captured(model, images(seed)).float().numpy()
        expected = model(images(seed), training=False).float().numpy()
        np.testing.assert_array_equal(found, expected)
    # Another method in place of a layer's own does not count.
    assert is_repeated(captured, model, images(0))


class Holding(keras.layers.Layer):
    """A layer of a user's own whose settings are in what its attributes hold."""

    def __init__(self):
        super().__init__()
        self.factors = [2.0]
        self.by_name = {"a": [3.0]}
        self.settings = types.SimpleNamespace(factor=2.0)
        self.array = np.ones(4, "float32")
        self.parts = [keras.layers.ReLU(), keras.layers.Activation("tanh")]

    def call(self, x):
        x = x * self.factors[0] * self.by_name["a"][0] * self.settings.factor
        x = keras.ops.multiply(x, self.array)
        for part in self.parts:
            x = part(x)
        return x


HELD = {
    "a list": lambda layer: layer.factors.__setitem__(0, 0.1),
    "a list in a dict": lambda layer: layer.by_name["a"].__setitem__(0, 0.1),
    "a dict": lambda layer: layer.by_name.update({"a": [0.1]}),
    "a namespace": lambda layer: setattr(layer.settings, "factor", 0.1),
    "an array": lambda layer: layer.array.fill(0.1),
    "a layer in a list": lambda layer: layer.parts.__setitem__(0, keras.layers.Activation("tanh")),
    "a layer less": lambda layer: layer.parts.pop(),
}


@pytest.mark.parametrize("name", HELD)
def test_the_next_call_sees_what_changed_within_an_attribute(name):
    layer = Holding()
    model, captured = make_model(layer), CapturedInference()
    warm(captured, model)
    assert is_repeated(captured, model, images(0))
    before = captured(model, images(0)).numpy()
    HELD[name](layer)
    assert np.abs(model(images(0), training=False).numpy() - before).max() > 1e-3
    assert_gives(captured, model, images(0))
    warm(captured, model)
    assert is_repeated(captured, model, images(0))


def test_the_next_call_sees_what_changed_in_the_model_itself():
    class Warmer(keras.Sequential):
        def call(self, x, training=None):
            return super().call(x, training=training) * self._temperature * self.more[0]

    model, captured = Warmer(make_model().layers), CapturedInference()
    model._temperature, model.more = 2.0, [1.0]
    warm(captured, model)
    assert is_repeated(captured, model, images(0))
    model._temperature = 3.0
    assert_gives(captured, model, images(0))
    warm(captured, model)
    model.more[0] = 4.0
    assert_gives(captured, model, images(0))


def test_a_layer_that_keeps_a_list_of_what_it_saw_sees_all():
    class Log(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.seen = []

        def call(self, x):
            self.seen.append(tuple(x.shape))
            return x

    layer = Log()
    model, captured = make_model(layer), CapturedInference()
    before = len(layer.seen)
    for seed in range(6):
        captured(model, images(seed))
    assert len(layer.seen) == before + 6


def test_adapters_that_are_trained_afterwards_are_seen():
    model, captured = make_model(), CapturedInference()
    model.get_layer("dense").enable_lora(1)
    warm(captured, model)
    model.get_layer("dense").lora_kernel_b.assign(np.ones((1, 4)))
    assert_gives(captured, model, images(0))


def test_between_two_fits_nothing_is_recorded_again():
    model, captured = make_model(), CapturedInference()
    _fitted(model)
    warm(captured, model)
    for _ in range(2):
        with torch.enable_grad():
            model.fit(images(7), np.zeros((2, 2)), verbose=0)
        assert is_repeated(captured, model, images(0))
        assert_gives(captured, model, images(0))


def test_each_shape_and_dtype_is_its_own():
    model, captured = make_model(), CapturedInference()
    for count in (2, 3, 1):
        warm(captured, model, count)
        assert is_repeated(captured, model, images(0, count))
    assert not is_repeated(captured, model, images(0).astype("float64"))
    assert is_repeated(captured, model, images(0))


def test_the_shapes_not_seen_for_longest_are_forgotten():
    model, captured = make_model(), CapturedInference(max_shapes=2)
    warm(captured, model, 1)
    warm(captured, model, 2)
    assert is_repeated(captured, model, images(0, 1))
    warm(captured, model, 3)
    assert is_repeated(captured, model, images(0, 1))
    assert not is_repeated(captured, model, images(0, 2))


def test_what_is_kept_is_bounded():
    """Images of many sizes, one of each, keep nothing but the sizes."""
    model, captured = make_model(), CapturedInference()
    for count in range(1, 30):
        captured(model, images(0, count))
    assert len(captured._shapes) == torch_capture.MAX_SHAPES
    assert all(shape.program is None for shape in captured._shapes.values())


class Brightest(keras.layers.Layer):
    """A layer of a user's own whose operations depend on values."""

    def __init__(self, how):
        super().__init__()
        self.how = how

    def call(self, x):
        if self.how == "branch":
            return x if x.sum() > 0 else -x
        if self.how == "number":
            return x * float(x.max())
        if self.how == "array":
            return x * keras.ops.convert_to_numpy(x).max()
        if self.how == "mask":
            return x * len(x[x > 0])
        return x.add_(1.0)


@pytest.mark.parametrize("how", ["branch", "number", "array", "mask", "in place"])
def test_a_model_that_depends_on_values_runs_as_ever(how):
    model, captured = make_model(Brightest(how)), CapturedInference()
    for seed in range(8):
        assert_gives(captured, model, images(seed))
    # Writing into what the model itself has made can be repeated.
    assert is_repeated(captured, model, images(0)) == (how == "in place")


def test_random_layers_run_as_ever():
    class Noise(keras.layers.Layer):
        def call(self, x):
            return x + keras.random.normal(x.shape)

    model, captured = make_model(Noise()), CapturedInference()
    found = [captured(model, images(0)).numpy() for _ in range(7)]
    assert len({one.tobytes() for one in found}) == 7


def test_several_inputs_and_outputs_by_name():
    first, second = keras.Input((3,), name="first"), keras.Input((3,), name="second")
    outputs = {"b": keras.layers.Dense(2)(first) - first[:, :2], "a": [first + second]}
    model, captured = keras.Model({"second": second, "first": first}, outputs), CapturedInference()
    for seed in range(6):
        x = {"second": images(seed), "first": images(seed + 10)}
        found, expected = captured(model, x), model(x, training=False)
        keras.tree.assert_same_structure(found, expected)
        keras.tree.map_structure(lambda a, b: np.testing.assert_array_equal(a, b), found, expected)
    for seed in range(3):
        once = torch.as_tensor(images(seed))
        x = {"first": once, "second": once}
        expected = model(x, training=False)["a"][0]
        np.testing.assert_array_equal(captured(model, x)["a"][0], expected)


def test_who_listens_to_a_layer_hears_it():
    model, captured = make_model(), CapturedInference()
    warm(captured, model)
    heard = []
    handle = model.get_layer("head").register_forward_hook(lambda *_: heard.append(1))
    for seed in range(3):
        captured(model, images(seed))
    assert len(heard) == 3
    handle.remove()
    assert_gives(captured, model, images(0))
    assert len(heard) == 3


def test_who_listens_to_all_modules_hears_them():
    model, captured = make_model(), CapturedInference()
    warm(captured, model)
    heard = []
    register = torch.nn.modules.module.register_module_forward_hook
    handle = register(lambda module, *_: heard.append(module))
    try:
        captured(model, images(0))
        found = len(heard)
        model(images(0), training=False)
    finally:
        handle.remove()
    assert found == len(heard) - found > 0
    assert is_repeated(captured, model, images(0))


def test_modules_of_torch_run_as_ever():
    module = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Tanh())
    model, captured = make_model(keras.layers.TorchModuleWrapper(module)), CapturedInference()
    for seed in range(5):
        assert_gives(captured, model, images(seed))
    module[1] = torch.nn.ReLU()
    assert_gives(captured, model, images(0))

    class Listing(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.modules_of_torch = [module]

        def call(self, x):
            return self.modules_of_torch[0](x)

    model, captured = make_model(Listing()), CapturedInference()
    warm(captured, model)
    module[1] = torch.nn.Tanh()
    assert_gives(captured, model, images(0))


def test_other_strides_are_another_shape():
    model, captured = make_model(), CapturedInference()
    warm(captured, model)
    assert_gives(captured, model, torch.as_tensor(images(0).T.copy()).T)
    assert_gives(captured, model, np.asfortranarray(images(1)))
    assert is_repeated(captured, model, images(0))


def test_a_program_that_fails_is_not_repeated(monkeypatch):
    def failing(function, inputs, weights):
        return function(inputs), lambda _: [][0]

    monkeypatch.setattr(torch_capture, "record", failing)
    model, captured = make_model(), CapturedInference()
    for seed in range(6):
        assert_gives(captured, model, images(seed))


def test_gradients_and_autocast_are_those_of_the_model():
    model, captured = make_model(), CapturedInference()
    warm(captured, model)
    x = torch.tensor(images(0), requires_grad=True)
    with torch.enable_grad():
        captured(model, x).sum().backward()
    assert x.grad.abs().max() > 0
    with torch.autocast("cpu", torch.bfloat16):
        assert captured(model, images(0)).dtype == model(images(0), training=False).dtype


def test_what_keras_refuses_is_refused_as_ever():
    model, captured = make_model(), CapturedInference()
    warm(captured, model)
    for wrong in (images(0, size=5), "a name", [["a"]], None):
        with pytest.raises(Exception) as expected:
            model(wrong, training=False)
        for _ in range(3):
            with pytest.raises(expected.type):
                captured(model, wrong)
    assert_gives(captured, model, images(0))


def test_threads_share_it():
    model, captured = make_model(), CapturedInference()
    expected = {seed: model(images(seed), training=False).numpy() for seed in range(20)}
    found = {}

    def run(seeds):
        with torch.no_grad():
            for seed in seeds:
                found[seed] = captured(model, images(seed)).numpy()

    threads = [threading.Thread(target=run, args=(range(i, 20, 4),)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed, values in expected.items():
        np.testing.assert_array_equal(found[seed], values)


# === Of a task ===


@pytest.fixture
def task(build):
    return build.randomize(build.segmenter())


def inputs(seed, modality=0, count=1):
    x = np.random.default_rng(seed).normal(size=(count, 64, 64, 3)).astype("float32")
    return {"images": x, "modalities": np.full(count, modality, "int32")}


def eager(task, x):
    return keras.tree.map_structure(keras.ops.convert_to_numpy, task(x, training=False))


def assert_predicts(task, x):
    expected = eager(task, x)
    prepared = task.predict_prepared(x)
    by_keras = keras.Model.predict(task, x, verbose=0)
    for name, values in expected.items():
        np.testing.assert_array_equal(prepared[name], values)
        np.testing.assert_array_equal(by_keras[name], values)


def has_program(task):
    return any(shape.program is not None for shape in task._captured_inference._shapes.values())


def test_a_segmenter_of_mixed_modalities(task):
    for seed in range(5):
        assert_predicts(task, inputs(seed, seed % 3))
    assert has_program(task)
    assert_predicts(task, {**inputs(7, count=3), "modalities": np.array([2, 0, 1], "int32")})


def test_a_segmenter_that_is_changed(task, tmp_path):
    def warmed():
        for seed in range(3):
            assert_predicts(task, inputs(seed, 1))
        assert has_program(task)

    warmed()
    task.save_weights(tmp_path / "first.weights.h5")
    before = task.predict_prepared(inputs(0, 1))["masks"]
    task.set_weights([weight * 1.1 for weight in task.get_weights()])
    assert np.abs(eager(task, inputs(0, 1))["masks"] - before).max() > 1e-3
    warmed()
    task.load_weights(tmp_path / "first.weights.h5")
    np.testing.assert_array_equal(task.predict_prepared(inputs(0, 1))["masks"], before)
    task.backbone.enable_lora(2)
    warmed()
    for weight in task.weights:
        if "lora_kernel_b" in weight.path:
            weight.assign(np.full(weight.shape, 0.1))
    assert np.abs(eager(task, inputs(0, 1))["masks"] - before).max() > 1e-3
    warmed()


@pytest.mark.slow_on("torch")
def test_a_quantised_segmenter(task):
    for seed in range(4):
        assert_predicts(task, inputs(seed))
    task.quantize("int8")
    for seed in range(4):
        assert_predicts(task, inputs(seed))
    assert has_program(task)


@pytest.mark.slow_on("torch")
def test_more_modalities_and_folding(task):
    for seed in range(4):
        assert_predicts(task, inputs(seed))
    more = task.add_modality("bone", init_from="lung")
    folded = task.fold()
    for seed in range(4):
        assert_predicts(more, inputs(seed, 3))
        assert_predicts(folded, inputs(seed, 2))
        assert_predicts(task, inputs(seed, 2))


def test_run_eagerly_calls_the_model(task):
    task.compile(run_eagerly=True)
    task.predict_prepared(inputs(0))
    assert not hasattr(task, "_captured_inference")


def test_a_task_with_a_program_is_saved_copied_and_freed(task, tmp_path):
    import copy
    import gc
    import weakref

    for seed in range(4):
        assert_predicts(task, inputs(seed))
    task.save(tmp_path / "task.keras")
    loaded = keras.saving.load_model(tmp_path / "task.keras")
    copied = copy.deepcopy(task)
    for other in (loaded, copied):
        assert_predicts(other, inputs(0))
    of = weakref.ref(keras.models.clone_model(task))
    for seed in range(3):
        if of() is not None:
            keras.Model.predict_on_batch(of(), inputs(seed))
    gc.collect()
    assert of() is None


@pytest.mark.slow_on("torch")
def test_a_small_segmenter_of_bfloat16(build):
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        task = build.randomize(build.segmenter())
    finally:
        keras.config.set_dtype_policy(policy)
    for seed in range(5):
        assert_predicts(task, inputs(seed))
    assert has_program(task)
