import json

import keras
import numpy as np
import pytest

from keras_espmedsam.layers import ModalityVariables
from keras_espmedsam.layers.modality_variables import select_modality
from keras_espmedsam.optimizers import ModalityMaskedOptimizer

INNER = {
    "AdamW": lambda: keras.optimizers.AdamW(0.1, weight_decay=0.5),
    "SGD with momentum": lambda: keras.optimizers.SGD(0.1, momentum=0.9, weight_decay=0.5),
    "global_clipnorm": lambda: keras.optimizers.AdamW(0.1, weight_decay=0.5, global_clipnorm=0.5),
    "EMA": lambda: keras.optimizers.AdamW(0.1, weight_decay=0.5, use_ema=True, ema_momentum=0.5),
}
SHARED = np.array([[1.0, -2.0], [0.5, 3.0]], "float32")
OWN = np.array([[0.5, 1.0], [-4.0, 2.0]], "float32")
GRADIENT = np.array([[1.0, -0.5], [2.0, 0.25]], "float32")


def _variables():
    shared, own = keras.Variable(SHARED, name="shared"), keras.Variable(OWN, name="own")
    own.is_modality_specific = True
    return shared, own


def _step(optimizer, variables, gradients):
    gradients = [keras.ops.convert_to_tensor(g) for g in gradients]
    if keras.backend.backend() != "jax":
        optimizer.apply(gradients, list(variables))
        return
    # As Keras trains on JAX; its LossScaleOptimizer knows no other way there.
    optimizer.build(list(variables))
    old = [v.value for v in optimizer.variables], [v.value for v in variables]
    new, state = optimizer.stateless_apply(old[0], gradients, old[1])
    for variable, value in zip([*variables, *optimizer.variables], [*new, *state], strict=True):
        variable.assign(value)


def _values(variables):
    return [keras.ops.convert_to_numpy(v).copy() for v in variables]


def _state_of(optimizer, name):
    """The optimiser's variables that belong to the model's variable of this name."""
    found = [v for v in optimizer.variables if v.name.startswith(f"{name}_")]
    assert found
    return found


@pytest.fixture(params=INNER)
def inner(request):
    return INNER[request.param]()


def test_absent_variables_and_their_state_stay_bit_for_bit(inner):
    shared, own = _variables()
    optimizer = ModalityMaskedOptimizer(inner)
    _step(optimizer, (shared, own), (GRADIENT, GRADIENT))
    guarded = [own, *_state_of(optimizer, "own")]
    free = [shared, *_state_of(optimizer, "shared")]
    assert len(guarded) == len(free) >= 2
    for _ in range(3):
        before, before_free = _values(guarded), _values(free)
        _step(optimizer, (shared, own), (GRADIENT, 0 * GRADIENT))
        for old, new in zip(before, _values(guarded), strict=True):
            np.testing.assert_array_equal(new, old)
        for old, new in zip(before_free, _values(free), strict=True):
            assert (new != old).any()
    # The same without the wrapper, or this test would prove nothing.
    plain_shared, plain_own = _variables()
    plain = type(inner).from_config(inner.get_config())
    _step(plain, (plain_shared, plain_own), (GRADIENT, GRADIENT))
    before = _values([plain_own])[0]
    _step(plain, (plain_shared, plain_own), (GRADIENT, 0 * GRADIENT))
    assert (_values([plain_own])[0] != before).any()


def test_present_variables_take_the_inner_optimisers_step(inner):
    ours, theirs = _variables(), _variables()
    optimizer = ModalityMaskedOptimizer(inner)
    plain = type(inner).from_config(inner.get_config())
    for scale in (1.0, -2.0, 0.5):
        _step(optimizer, ours, (GRADIENT, scale * GRADIENT))
        _step(plain, theirs, (GRADIENT, scale * GRADIENT))
    for a, b in zip(_values(ours), _values(theirs), strict=True):
        np.testing.assert_array_equal(a, b)
    for name in ("shared", "own"):
        states = zip(_state_of(optimizer, name), _state_of(plain, name), strict=True)
        for a, b in states:
            np.testing.assert_array_equal(*_values([a, b]))


def test_the_shared_variable_steps_as_if_nothing_were_guarded(inner):
    ours, theirs = _variables(), _variables()
    optimizer = ModalityMaskedOptimizer(inner)
    plain = type(inner).from_config(inner.get_config())
    for scale in (1.0, 0.0, 0.5):
        _step(optimizer, ours, (GRADIENT, scale * GRADIENT))
        _step(plain, theirs, (GRADIENT, scale * GRADIENT))
    np.testing.assert_array_equal(*_values([ours[0], theirs[0]]))


def test_momentum_waits_for_its_modality_by_hand():
    shared, own = _variables()
    optimizer = ModalityMaskedOptimizer(keras.optimizers.SGD(0.1, momentum=0.9))
    for scale in (1.0, 0.0, 1.0):
        _step(optimizer, (shared, own), (GRADIENT, scale * GRADIENT))
    # Two steps of its own: m = -0.1 g, then 0.9 m - 0.1 g.
    np.testing.assert_allclose(_values([own])[0], OWN - (0.1 + 0.19) * GRADIENT, rtol=1e-6)
    # The shared one took three; its m went on to 0.9 * -0.19 g - 0.1 g.
    moved = SHARED - (0.1 + 0.19 + 0.271) * GRADIENT
    np.testing.assert_allclose(_values([shared])[0], moved, rtol=1e-6)


def test_a_single_non_zero_gradient_is_presence():
    shared, own = _variables()
    optimizer = ModalityMaskedOptimizer(keras.optimizers.SGD(0.5))
    tiny = np.zeros_like(GRADIENT)
    tiny[1, 0] = -2e-30
    _step(optimizer, (shared, own), (GRADIENT, tiny))
    tiny[1, 0] = -8.0
    _step(optimizer, (shared, own), (GRADIENT, tiny))
    np.testing.assert_array_equal(_values([own])[0], [[0.5, 1.0], [0.0, 2.0]])


def test_a_missing_gradient_leaves_a_variable_as_it_is():
    shared, own = _variables()
    optimizer = ModalityMaskedOptimizer(INNER["AdamW"]())
    _step(optimizer, (shared, own), (GRADIENT, GRADIENT))
    guarded = [own, *_state_of(optimizer, "own")]
    before = _values(guarded)
    with pytest.warns(UserWarning, match="own"):
        optimizer.apply([keras.ops.convert_to_tensor(GRADIENT), None], [shared, own])
    for old, new in zip(before, _values(guarded), strict=True):
        np.testing.assert_array_equal(new, old)


def test_the_average_of_a_modality_never_seen_is_its_value():
    shared, own = _variables()
    optimizer = ModalityMaskedOptimizer(INNER["EMA"]())
    for _ in range(2):
        _step(optimizer, (shared, own), (GRADIENT, 0 * GRADIENT))
    # What `fit` does at its end.
    optimizer.finalize_variable_values([shared, own])
    np.testing.assert_array_equal(_values([own])[0], OWN)


def test_an_average_begins_where_its_variable_began():
    shared, own = _variables()
    inner = keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.75)
    optimizer = ModalityMaskedOptimizer(inner)
    _step(optimizer, (shared, own), (GRADIENT, 0 * GRADIENT))
    _step(optimizer, (shared, own), (GRADIENT, GRADIENT))
    optimizer.finalize_variable_values([shared, own])
    np.testing.assert_allclose(_values([own])[0], OWN - 0.25 * 0.1 * GRADIENT, rtol=1e-6)


def test_no_variable_is_listed_twice():
    optimizer = ModalityMaskedOptimizer(INNER["AdamW"]())
    optimizer.build(list(_variables()))
    listed = [id(v) for v in optimizer.variables]
    assert len(listed) == len(set(listed))
    # Own iteration and learning rate, the inner one's, and two moments of two variables.
    assert len(listed) == 2 + 2 + 4


def test_building_again_keeps_the_guard():
    shared, own = _variables()
    optimizer = ModalityMaskedOptimizer(INNER["AdamW"]())
    optimizer.build([shared, own])
    optimizer.build([shared, own])
    _step(optimizer, (shared, own), (GRADIENT, GRADIENT))
    guarded = [own, *_state_of(optimizer, "own")]
    before = _values(guarded)
    _step(optimizer, (shared, own), (GRADIENT, 0 * GRADIENT))
    for old, new in zip(before, _values(guarded), strict=True):
        np.testing.assert_array_equal(new, old)


def test_configuration_round_trip(inner):
    optimizer = ModalityMaskedOptimizer(inner, name="apart")
    text = json.dumps(keras.optimizers.serialize(optimizer))
    twin = keras.optimizers.deserialize(json.loads(text))
    assert isinstance(twin, ModalityMaskedOptimizer)
    assert twin.name == "apart"
    assert type(twin.inner_optimizer).__name__ == type(inner).__name__
    assert twin.inner_optimizer.get_config() == inner.get_config()


def test_state_round_trip():
    ours, theirs = _variables(), _variables()
    optimizer = ModalityMaskedOptimizer(INNER["AdamW"]())
    _step(optimizer, ours, (GRADIENT, GRADIENT))
    store = {}
    optimizer.save_own_variables(store)
    twin = ModalityMaskedOptimizer(INNER["AdamW"]())
    twin.build(list(theirs))
    twin.load_own_variables(store)
    for new, old in zip(theirs, ours, strict=True):
        new.assign(old)
    for each, variables in ((optimizer, ours), (twin, theirs)):
        _step(each, variables, (GRADIENT, -GRADIENT))
    for a, b in zip(_values(ours), _values(theirs), strict=True):
        np.testing.assert_array_equal(a, b)


def test_learning_rate_is_the_inner_ones():
    inner = keras.optimizers.SGD(0.25)
    optimizer = ModalityMaskedOptimizer(inner)
    assert float(optimizer.learning_rate) == 0.25
    optimizer.learning_rate = 0.5
    assert float(inner.learning_rate) == 0.5
    shared, own = _variables()
    _step(optimizer, (shared, own), (GRADIENT, GRADIENT))
    np.testing.assert_array_equal(_values([own])[0], OWN - 0.5 * GRADIENT)


def test_a_schedule_goes_on_while_a_modality_is_absent():
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay(
        [1], [1.0, 0.25]
    )  # of steps 0 and 1, and after
    optimizer = ModalityMaskedOptimizer(keras.optimizers.SGD(schedule))
    shared, own = _variables()
    for scale in (1.0, 0.0, 1.0):
        _step(optimizer, (shared, own), (GRADIENT, scale * GRADIENT))
    assert int(optimizer.iterations) == 3
    assert float(optimizer.learning_rate) == 0.25
    np.testing.assert_array_equal(_values([own])[0], OWN - 1.25 * GRADIENT)
    np.testing.assert_array_equal(_values([shared])[0], SHARED - 2.25 * GRADIENT)


def test_inside_a_loss_scale_optimizer():
    scaling = keras.optimizers.LossScaleOptimizer(
        ModalityMaskedOptimizer(keras.optimizers.SGD(0.5, momentum=0.5)), initial_scale=8.0
    )
    shared, own = _variables()
    scaling.build([shared, own])
    assert float(scaling.scale_loss(1.0)) == 8.0
    for scale in (8.0, 0.0):
        _step(scaling, (shared, own), (8 * GRADIENT, scale * GRADIENT))
    np.testing.assert_array_equal(_values([own])[0], OWN - 0.5 * GRADIENT)
    np.testing.assert_array_equal(_values([shared])[0], SHARED - 1.25 * GRADIENT)
    # A step that overflows is no step at all.
    before = _values([shared, own])
    _step(scaling, (shared, own), (np.inf * GRADIENT, GRADIENT))
    for old, new in zip(before, _values([shared, own]), strict=True):
        np.testing.assert_array_equal(new, old)


@pytest.mark.parametrize(
    ("inner", "message"),
    [
        (lambda: keras.optimizers.SGD(0.1, gradient_accumulation_steps=2), "accumulation_steps=2"),
        (
            lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1)),
            "put the loss scaling outside",
        ),
    ],
)
def test_refuses_what_it_cannot_wrap(inner, message):
    with pytest.raises(ValueError, match=message):
        ModalityMaskedOptimizer(inner())


def test_refuses_an_optimizer_in_use():
    inner = keras.optimizers.Adam(0.1)
    inner.build(list(_variables()))
    with pytest.raises(ValueError, match="already built; give a new one"):
        ModalityMaskedOptimizer(inner)


@keras.saving.register_keras_serializable(package="keras_espmedsam_tests")
class _Scale(keras.layers.Layer):
    """One trainable factor per modality and one for all."""

    def build(self, x_shape):
        self.shared = self.add_weight(shape=(1,), initializer="ones", name="shared")
        self.factors = [ModalityVariables({"factor": (1,)}, {"factor": "ones"}) for _ in range(3)]
        for factor in self.factors:
            factor.build()
        self.built = True

    def call(self, x, modalities):
        own = select_modality([f["factor"].value for f in self.factors], modalities[:, 0])
        return x * own * self.shared

    def compute_output_shape(self, x_shape):
        return x_shape


@pytest.mark.parametrize("scaled", [False, True], ids=["plain", "in a LossScaleOptimizer"])
def test_in_fit(scaled):
    x, modalities = keras.Input((1,)), keras.Input((1,), dtype="int32")
    layer = _Scale()
    model = keras.Model([x, modalities], layer(x, modalities))
    optimizer = ModalityMaskedOptimizer(keras.optimizers.AdamW(0.1, weight_decay=0.5))
    if scaled:
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    model.compile(optimizer=optimizer, loss="mse")
    ones = np.ones((4, 1), "float32")

    def fit(own):
        model.fit([ones, np.array(own, "int32")[:, None]], 2 * ones, verbose=0)
        return [_values([factor["factor"]])[0].item() for factor in layer.factors]

    first = fit([0, 1, 0, 1])
    assert first[0] > 1 < first[1]
    assert first[2] == 1
    second = fit([0, 0, 0, 0])
    assert second[0] > first[0]
    assert second[1:] == first[1:]
