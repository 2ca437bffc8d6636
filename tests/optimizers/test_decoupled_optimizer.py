import json

import keras
import numpy as np
import pytest

from keras_espmedsam.layers import ModalityVariables
from keras_espmedsam.layers.modality_variables import select_modality
from keras_espmedsam.optimizers import DecoupledOptimizer, decoupled

PATTERNS = {
    "AdamW": lambda: keras.optimizers.AdamW(0.1, weight_decay=0.5),
    "SGD with momentum": lambda: keras.optimizers.SGD(0.1, momentum=0.9, weight_decay=0.5),
    "Adafactor": lambda: keras.optimizers.Adafactor(0.1, weight_decay=0.5),
    "clipnorm": lambda: keras.optimizers.AdamW(0.1, weight_decay=0.5, clipnorm=0.5),
    "global_clipnorm": lambda: keras.optimizers.SGD(0.1, momentum=0.9, global_clipnorm=0.5),
    "EMA": lambda: keras.optimizers.AdamW(
        0.1, weight_decay=0.5, use_ema=True, ema_momentum=0.5, ema_overwrite_frequency=2
    ),
    "accumulation": lambda: keras.optimizers.AdamW(
        0.1, weight_decay=0.5, gradient_accumulation_steps=2
    ),
    "loss_scale_factor": lambda: keras.optimizers.AdamW(0.1, loss_scale_factor=4.0),
}
SHARED = np.array([[1.0, -2.0], [0.5, 3.0]], "float32")
OWN = np.array([[0.5, 1.0], [-4.0, 2.0]], "float32")
GRADIENT = np.array([[1.0, -0.5], [2.0, 0.25]], "float32")
# By what the gradient of each is multiplied in each step: 0 where its modality is absent.
FACTORS = {"shared": (1, -1, 2, 1, 3), "first": (1, 0, 0, -2, 1), "second": (0, 0, 3, 0, -1)}


def _variables():
    """A shared variable and those of the modalities 0 and 1; the latter has two."""
    shared, first = keras.Variable(SHARED, name="shared"), keras.Variable(OWN, name="first")
    second = keras.Variable(OWN + 1, name="second"), keras.Variable(OWN[0], name="bias")
    first.modality = 0
    for variable in second:
        variable.modality = 1
    return [shared, first, *second]


def _gradients(*factors):
    """Of a step; the last variable, the bias, gets a row of the second modality's gradient."""
    shared, first, second = factors
    return [shared * GRADIENT, first * GRADIENT, second * GRADIENT, second * GRADIENT[0]]


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


def _state(optimizer):
    """Slots and count. The rate is left out: a copy's is set when it takes a step."""
    return _values(v for v in optimizer.variables if v.name != "learning_rate")


def _assert_equal(ones, others):
    assert len(ones) == len(others)
    for one, other in zip(ones, others, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.fixture(params=PATTERNS)
def pattern(request):
    return PATTERNS[request.param]()


def test_each_modality_steps_as_if_it_were_alone(pattern):
    """Against an optimiser per modality that is called only where the modality is present."""
    ours, theirs = _variables(), _variables()
    optimizer = DecoupledOptimizer(pattern)
    parts = [theirs[:1], theirs[1:2], theirs[2:]]
    plain = [type(pattern).from_config(pattern.get_config()) for _ in parts]
    for one, part in zip(plain, parts, strict=True):
        one.build(part)
    seen = [0, 0, 0]
    for factors in zip(*FACTORS.values(), strict=True):
        gradients = _gradients(*factors)
        _step(optimizer, ours, gradients)
        parted = [gradients[:1], gradients[1:2], gradients[2:]]
        for i, factor in enumerate(factors):
            if factor:
                _step(plain[i], parts[i], parted[i])
                seen[i] += 1
        _assert_equal(_values(ours), _values(theirs))
        for copy, one, count in zip(optimizer.copies, plain, seen, strict=True):
            # A copy's moving averages begin at the variables, Keras' at zero.
            if count:
                _assert_equal(_state(copy), _state(one))
    assert seen == [5, 3, 2] and int(optimizer.iterations) == 5
    for one, part in zip(plain, parts, strict=True):
        one.finalize_variable_values(part)
    optimizer.finalize_variable_values(ours)
    _assert_equal(_values(ours), _values(theirs))


def test_one_optimizer_for_all_would_move_the_absent(pattern):
    """Or the test above would prove nothing."""
    variables = _variables()
    _step(pattern, variables, _gradients(1, 1, 1))
    _step(pattern, variables, _gradients(1, 1, 1))
    before = _values(variables)
    _step(pattern, variables, _gradients(1, 0, 0))
    _step(pattern, variables, _gradients(1, 0, 0))
    assert all((new != old).any() for new, old in zip(_values(variables), before, strict=True))


def test_momentum_waits_for_its_modality_by_hand():
    variables = _variables()
    optimizer = DecoupledOptimizer(keras.optimizers.SGD(0.1, momentum=0.9))
    for factor in (1.0, 0.0, 1.0):
        _step(optimizer, variables, _gradients(1, factor, 0))
    # Two steps of its own: m = -0.1 g, then 0.9 m - 0.1 g.
    np.testing.assert_allclose(_values(variables)[1], OWN - (0.1 + 0.19) * GRADIENT, rtol=1e-6)
    # The shared one took three; its m went on to 0.9 * -0.19 g - 0.1 g.
    moved = SHARED - (0.1 + 0.19 + 0.271) * GRADIENT
    np.testing.assert_allclose(_values(variables)[0], moved, rtol=1e-6)


def test_a_large_gradient_of_one_modality_does_not_shorten_anothers_step():
    variables = _variables()
    optimizer = DecoupledOptimizer(keras.optimizers.SGD(1.0, global_clipnorm=1.0))
    _step(optimizer, variables, _gradients(0.1, 1e6, 0.1))
    np.testing.assert_allclose(_values(variables)[0], SHARED - 0.1 * GRADIENT, rtol=1e-6)
    length = np.linalg.norm(_values(variables)[1] - OWN)
    assert length == pytest.approx(1, rel=1e-5)


def test_a_single_non_zero_gradient_is_presence():
    variables = _variables()
    optimizer = DecoupledOptimizer(keras.optimizers.SGD(0.5))
    tiny = np.zeros_like(GRADIENT)
    for value in (-2e-30, -8.0):
        tiny[1, 0] = value
        _step(optimizer, variables, [GRADIENT, tiny, 0 * GRADIENT, 0 * GRADIENT[0]])
    np.testing.assert_array_equal(_values(variables)[1], [[0.5, 1.0], [0.0, 2.0]])
    _, first, second = optimizer.copies
    assert int(first.iterations) == 2 and int(second.iterations) == 0


def test_the_shared_part_may_be_absent():
    variables = _variables()
    optimizer = DecoupledOptimizer(PATTERNS["AdamW"]())
    _step(optimizer, variables, _gradients(1, 1, 1))
    before = _values(variables)
    _step(optimizer, variables, _gradients(0, 1, 0))
    moved = [(new != old).any() for new, old in zip(_values(variables), before, strict=True)]
    assert moved == [False, True, False, False]


def test_missing_gradients_are_absence():
    variables = _variables()
    optimizer = DecoupledOptimizer(PATTERNS["AdamW"]())
    _step(optimizer, variables, _gradients(1, 1, 1))
    before = _values(variables), _state(optimizer)
    gradient = keras.ops.convert_to_tensor(GRADIENT)
    optimizer.apply([None, gradient, None, None], variables)
    moved = [(new != old).any() for new, old in zip(_values(variables), before[0], strict=True)]
    assert moved == [False, True, False, False]
    # One of a modality's two: that it is missing is told, as Keras does.
    with pytest.warns(UserWarning, match="bias"):
        optimizer.apply([None, None, gradient, None], variables)
    with pytest.raises(ValueError, match="gradients of 0"):
        optimizer.apply([None] * 4, variables)
    with pytest.raises(ValueError, match="1 of them unknown"):
        optimizer.apply([gradient], [keras.Variable(SHARED)])


def test_a_modality_never_seen_keeps_its_value_where_averages_are_taken():
    variables = _variables()
    optimizer = DecoupledOptimizer(PATTERNS["EMA"]())
    for _ in range(2):
        _step(optimizer, variables, _gradients(1, 0, 0))
    # What `fit` does at its end.
    optimizer.finalize_variable_values(variables)
    np.testing.assert_array_equal(_values(variables)[1], OWN)
    assert (_values(variables)[0] != SHARED).any()


def test_excluded_variables_do_not_decay():
    """By name and by variable; of the first modality nothing is left to decay."""
    variables = _variables()
    pattern = keras.optimizers.SGD(0.5, weight_decay=0.5)
    pattern.exclude_from_weight_decay(var_list=[variables[1]], var_names=["bias"])
    optimizer = DecoupledOptimizer(pattern)
    _step(optimizer, variables, _gradients(1, 1, 1))
    expected = [
        0.75 * SHARED - 0.5 * GRADIENT,
        OWN - 0.5 * GRADIENT,
        0.75 * (OWN + 1) - 0.5 * GRADIENT,
        OWN[0] - 0.5 * GRADIENT[0],
    ]
    for value, wanted in zip(_values(variables), expected, strict=True):
        np.testing.assert_allclose(value, wanted, rtol=1e-6)
    with pytest.raises(ValueError, match="already built"):
        optimizer.exclude_from_weight_decay(var_names=["bias"])
    before = DecoupledOptimizer(keras.optimizers.SGD(0.5, weight_decay=0.5))
    before.exclude_from_weight_decay(var_names=["first", "bias"])
    twins = _variables()
    _step(before, twins, _gradients(1, 1, 1))
    _assert_equal(_values(twins), _values(variables))


# === Learning rates ===


def test_learning_rate_can_be_set():
    variables = _variables()
    optimizer = DecoupledOptimizer(keras.optimizers.SGD(0.25))
    assert float(optimizer.learning_rate) == 0.25
    optimizer.learning_rate = 0.5
    _step(optimizer, variables, _gradients(1, 1, 0))
    np.testing.assert_array_equal(_values(variables)[1], OWN - 0.5 * GRADIENT)
    optimizer.learning_rate = 0.125
    _step(optimizer, variables, _gradients(1, 1, 0))
    np.testing.assert_array_equal(_values(variables)[1], OWN - 0.625 * GRADIENT)


def test_the_given_optimizer_sets_and_reads_the_rate():
    """What the user made and still has; see benchmarks/learning_rate_callbacks.py for `fit`."""
    variables = _variables()
    given = keras.optimizers.SGD(0.25)
    optimizer = DecoupledOptimizer(given)
    given.learning_rate = 0.5
    assert float(optimizer.learning_rate) == 0.5
    _step(optimizer, variables, _gradients(1, 1, 0))
    given.learning_rate.assign(0.125)
    _step(optimizer, variables, _gradients(1, 1, 0))
    np.testing.assert_array_equal(_values(variables)[1], OWN - 0.625 * GRADIENT)
    optimizer.learning_rate = 2.0
    assert float(given.learning_rate) == 2.0 and int(given.iterations) == 2
    # A second model that is compiled with it goes on from there, on its own.
    second = DecoupledOptimizer(given)
    assert float(second.learning_rate) == 2.0
    given.learning_rate = 0.5
    assert (float(optimizer.learning_rate), float(second.learning_rate)) == (2.0, 0.5)


@pytest.mark.parametrize("built", [False, True])
@pytest.mark.parametrize("of_given", [False, True])
def test_a_schedule_may_take_the_place_of_a_number(built, of_given):
    variables = _variables()
    optimizer = DecoupledOptimizer(keras.optimizers.SGD(0.25))
    if built:
        optimizer.build(variables)
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay([0], [1.0, 0.5])
    (optimizer.optimizer if of_given else optimizer).learning_rate = schedule
    for _ in range(2):
        _step(optimizer, variables, _gradients(1, 1, 0))
    np.testing.assert_array_equal(_values(variables)[1], OWN - 1.5 * GRADIENT)
    assert float(optimizer.optimizer.learning_rate) == 0.5
    assert optimizer.get_config()["optimizer"]["config"]["learning_rate"]["config"]["values"]
    for each in (optimizer, optimizer.optimizer):
        with pytest.raises(TypeError, match="not settable"):
            each.learning_rate = 0.5


def test_a_rate_need_not_be_serialisable():
    """A schedule of the user's own, without a configuration, or a function."""

    class Half(keras.optimizers.schedules.LearningRateSchedule):
        def __call__(self, step):
            return 0.5

    for rate in (Half(), lambda: 0.5):
        variables = _variables()
        optimizer = DecoupledOptimizer(keras.optimizers.SGD(rate, momentum=0.5))
        _step(optimizer, variables, _gradients(1, 1, 0))
        np.testing.assert_array_equal(_values(variables)[1], OWN - 0.5 * GRADIENT)


def test_copies_tell_the_rate_of_their_last_step():
    variables = _variables()
    optimizer = DecoupledOptimizer(keras.optimizers.SGD(0.5, name="sgd"), {"bias": 0.25})
    _step(optimizer, variables, _gradients(1, 1, 1))
    optimizer.learning_rate = 0.25
    _step(optimizer, variables, _gradients(1, 0, 1))
    rates = {copy.name.removeprefix("sgd_"): float(copy.learning_rate) for copy in optimizer.copies}
    assert rates == {
        "shared": 0.25,
        "modality_0": 0.5,  # absent from the second
        "modality_1": 0.25,
        "modality_1_x0.25": 0.0625,
    }


def test_keras_callbacks_read_the_one_rate():
    """Without factors, and under the name that any optimiser's rate has."""
    model = _model(DecoupledOptimizer(keras.optimizers.SGD(0.5), {"scale/own_0": 0.25}))
    seen = []
    scheduler = keras.callbacks.LearningRateScheduler(
        lambda epoch, rate: seen.append(rate) or 0.5 * rate
    )
    plateau = keras.callbacks.ReduceLROnPlateau("loss", min_delta=100, patience=1, factor=0.5)
    history = model.fit(
        [ONES, np.array([[0], [1], [0], [1]], "int32")],
        2 * ONES,
        verbose=0,
        epochs=3,
        callbacks=[scheduler, plateau],
    ).history
    assert seen == [0.5, 0.25, 0.0625]
    assert history["learning_rate"] == [0.25, 0.125, 0.03125]
    assert not [name for name in history if name.startswith("learning_rate_")]
    # The second and the third epoch were no better, so that the plateau halved it after each.
    assert float(model.optimizer.learning_rate) == 0.03125 / 2


def test_a_schedule_goes_on_while_a_modality_is_absent():
    # Of steps 0 and 1, and after.
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay([1], [1.0, 0.25])
    optimizer = DecoupledOptimizer(keras.optimizers.SGD(schedule))
    variables = _variables()
    for factor in (1, 0, 1):
        _step(optimizer, variables, _gradients(1, factor, 0))
    assert int(optimizer.iterations) == 3
    assert float(optimizer.learning_rate) == 0.25
    np.testing.assert_array_equal(_values(variables)[1], OWN - 1.25 * GRADIENT)
    np.testing.assert_array_equal(_values(variables)[0], SHARED - 2.25 * GRADIENT)


def test_adafactor_under_a_schedule_is_adafactor_under_a_schedule():
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay([1], [2.0, 0.25])
    ours, theirs = _variables(), _variables()
    optimizer = DecoupledOptimizer(keras.optimizers.Adafactor(schedule))
    plain = keras.optimizers.Adafactor(schedule)
    for _ in range(3):
        _step(optimizer, ours, _gradients(1, 1, 1))
        _step(plain, theirs, _gradients(1, 1, 1))
    _assert_equal(_values(ours), _values(theirs))


@pytest.mark.parametrize("name", ["AdamW", "SGD with momentum"])
def test_multipliers_are_factors_of_the_learning_rate(name):
    """Against optimisers of a scaled rate. Both variables of a modality step together."""
    ours, theirs = _variables(), _variables()
    optimizer = DecoupledOptimizer(PATTERNS[name](), {"first": 0.5, "bias": 0.25, "bia": 9.0})
    plain = []
    for variable, factor in zip(theirs, (1, 0.5, 1, 0.25), strict=True):
        one = PATTERNS[name]()
        one.learning_rate = 0.1 * factor
        one.build([variable])
        plain.append(one)
    for factors in zip(*FACTORS.values(), strict=True):
        gradients = _gradients(*factors)
        _step(optimizer, ours, gradients)
        for i, factor in enumerate((*factors, factors[-1])):
            if factor:
                _step(plain[i], theirs[i : i + 1], gradients[i : i + 1])
    for one, other in zip(_values(ours), _values(theirs), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)
    # A part of a modality whose gradients happen to be zero steps with the rest of it.
    before = _values(ours)
    _step(optimizer, ours, [0 * GRADIENT, 0 * GRADIENT, GRADIENT, 0 * GRADIENT[0]])
    _step(optimizer, ours, [0 * GRADIENT, 0 * GRADIENT, GRADIENT, 0 * GRADIENT[0]])
    moved = [(new != old).any() for new, old in zip(_values(ours), before, strict=True)]
    assert moved == [False, False, True, True]


def test_the_longest_multiplier_that_fits_counts():
    with keras.name_scope("encoder"):
        variables = [keras.Variable([1.0], name="kernel"), keras.Variable([1.0], name="bias")]
    optimizer = DecoupledOptimizer(
        keras.optimizers.SGD(1.0), {"encoder": 0.5, "encoder/bias": 0.25, "enc": 3.0}
    )
    _step(optimizer, variables, [np.ones(1, "float32")] * 2)
    assert [value.item() for value in _values(variables)] == [0.5, 0.75]


def test_a_norm_is_clipped_over_all_multipliers_of_a_modality():
    variables = _variables()
    optimizer = DecoupledOptimizer(keras.optimizers.SGD(1.0, global_clipnorm=0.5), {"bias": 0.5})
    before = _values(variables)
    gradients = _gradients(1, 0, 1)
    _step(optimizer, variables, gradients)
    norm = np.sqrt(np.square(gradients[2]).sum() + np.square(gradients[3]).sum())
    for i, factor in ((2, 1.0), (3, 0.5)):
        moved = before[i] - factor * 0.5 / norm * gradients[i]
        np.testing.assert_allclose(_values(variables)[i], moved, rtol=1e-5)
    np.testing.assert_array_equal(_values(variables)[1], OWN)


def test_multipliers_that_cannot_serve_are_refused():
    with pytest.raises(ValueError, match=r"multiplier 0 for 'first'; give a positive one"):
        DecoupledOptimizer(keras.optimizers.SGD(0.1), {"first": 0})
    optimizer = DecoupledOptimizer(keras.optimizers.SGD(0.1), {"frist": 0.5})
    with pytest.raises(ValueError, match="frist, which fit none of its variables"):
        optimizer.build(_variables())
    pattern = keras.optimizers.SGD(0.1, global_clipnorm=1.0, gradient_accumulation_steps=2)
    with pytest.raises(ValueError, match="give two of the three, or clipnorm"):
        DecoupledOptimizer(pattern, {"first": 0.5})


# === State and configuration ===


def test_no_variable_is_listed_twice():
    optimizer = DecoupledOptimizer(PATTERNS["AdamW"]())
    optimizer.build(_variables())
    optimizer.build(_variables())  # Again: nothing new.
    listed = [id(v) for v in optimizer.variables]
    assert len(listed) == len(set(listed))
    # The iteration and the learning rate of itself and of three copies, two moments of each.
    assert len(listed) == 2 + 3 * 2 + 2 * 4


def test_configuration_round_trip(pattern):
    optimizer = DecoupledOptimizer(pattern, {"first": 0.5} if not pattern.use_ema else None, "own")
    optimizer.learning_rate = 0.25
    text = json.dumps(keras.optimizers.serialize(optimizer))
    twin = keras.optimizers.deserialize(json.loads(text))
    assert isinstance(twin, DecoupledOptimizer)
    assert twin.name == "own"
    assert twin.learning_rate_multipliers == optimizer.learning_rate_multipliers
    assert type(twin.optimizer).__name__ == type(pattern).__name__
    expected = {**pattern.get_config(), "learning_rate": 0.25}
    assert twin.optimizer.get_config() == expected
    assert float(twin.learning_rate) == 0.25


@pytest.mark.parametrize("name", ["Adafactor", "accumulation"])
def test_state_round_trip(name):
    pattern = PATTERNS[name]()
    ours, theirs = _variables(), _variables()
    optimizer, twin = DecoupledOptimizer(pattern), DecoupledOptimizer(pattern)
    for factor in (1, 0, 1):
        _step(optimizer, ours, _gradients(1, 1, factor))
    store = {}
    optimizer.save_own_variables(store)
    twin.build(theirs)
    twin.load_own_variables(store)
    for new, old in zip(theirs, ours, strict=True):
        new.assign(old)
    for each, variables in ((optimizer, ours), (twin, theirs)):
        _step(each, variables, _gradients(1, -1, 1))
    _assert_equal(_values(ours), _values(theirs))
    _assert_equal(_state(optimizer), _state(twin))


def test_a_rate_that_was_set_survives_a_file(tmp_path):
    """The file also holds the given optimiser's own first rate, which must not come back."""
    model = _model(DecoupledOptimizer(keras.optimizers.SGD(0.5)))
    _fit(model, [0, 1, 0, 1])
    model.optimizer.learning_rate = 0.125
    model.save(tmp_path / "model.keras")
    model.save_weights(tmp_path / "model.weights.h5")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert float(loaded.optimizer.learning_rate) == 0.125
    assert float(loaded.optimizer.optimizer.learning_rate) == 0.125
    assert int(loaded.optimizer.optimizer.iterations) == 1
    other = _model(DecoupledOptimizer(keras.optimizers.SGD(0.5)))
    other.optimizer.build(other.trainable_variables)
    other.load_weights(tmp_path / "model.weights.h5")
    assert float(other.optimizer.learning_rate) == 0.125


def test_inside_a_loss_scale_optimizer():
    scaling = keras.optimizers.LossScaleOptimizer(
        DecoupledOptimizer(keras.optimizers.SGD(0.5, momentum=0.5, loss_scale_factor=2.0)),
        initial_scale=8.0,
    )
    variables = _variables()
    scaling.build(variables)
    assert float(scaling.scale_loss(1.0)) == 8.0
    for factor in (8.0, 0.0):
        _step(scaling, variables, _gradients(8, factor, 0))
    np.testing.assert_array_equal(_values(variables)[1], OWN - 0.5 * GRADIENT)
    np.testing.assert_array_equal(_values(variables)[0], SHARED - 1.25 * GRADIENT)
    # A step that overflows is no step at all.
    before = _values(variables), _state(scaling.inner_optimizer)
    _step(scaling, variables, [np.inf * GRADIENT, *_gradients(1, 1, 1)[1:]])
    _assert_equal(_values(variables), before[0])
    _assert_equal(_state(scaling.inner_optimizer), before[1])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1)),
            "put the loss scaling outside",
        ),
        (
            lambda: keras.optimizers.MultiOptimizer(
                keras.optimizers.OptimizerMap(keras.optimizers.SGD(0.1))
            ),
            "no learning rate of its own",
        ),
    ],
)
def test_refuses_what_it_cannot_wrap(make, message):
    with pytest.raises(ValueError, match=message):
        DecoupledOptimizer(make())


def test_refuses_an_optimizer_in_use():
    pattern = keras.optimizers.Adam(0.1)
    pattern.build(_variables())
    with pytest.raises(ValueError, match="already built; give a new one"):
        DecoupledOptimizer(pattern)


def test_decoupled_wraps_once():
    plain = keras.optimizers.SGD(0.1)
    wrapped = decoupled(plain)
    assert wrapped.optimizer is plain
    assert decoupled(wrapped) is wrapped
    scaled = keras.optimizers.LossScaleOptimizer(plain, initial_scale=8.0, dynamic_growth_steps=7)
    outer = decoupled(scaled)
    assert isinstance(outer.inner_optimizer, DecoupledOptimizer)
    assert (outer.initial_scale, outer.dynamic_growth_steps) == (8.0, 7)
    assert decoupled(outer) is outer


# === In `fit` ===


@keras.saving.register_keras_serializable(package="keras_espmedsam_tests")
class _Scale(keras.layers.Layer):
    """One trainable factor per modality and one for all."""

    def build(self, x_shape):
        self.shared = self.add_weight(shape=(1,), initializer="ones", name="shared")
        self.factors = [
            ModalityVariables({"factor": (1,)}, {"factor": "ones"}, modality=k, name=f"own_{k}")
            for k in range(3)
        ]
        for factor in self.factors:
            factor.build()
        self.built = True

    def call(self, x, modalities):
        own = select_modality([f["factor"].value for f in self.factors], modalities[:, 0])
        return x * own * self.shared

    def compute_output_shape(self, x_shape):
        return x_shape


ONES = np.ones((4, 1), "float32")


def _model(optimizer):
    x, modalities = keras.Input((1,)), keras.Input((1,), dtype="int32")
    model = keras.Model([x, modalities], _Scale(name="scale")(x, modalities))
    model.compile(optimizer=optimizer, loss="mse")
    return model


def _fit(model, own, **kwargs):
    model.fit([ONES, np.array(own, "int32")[:, None]], 2 * ONES, verbose=0, **kwargs)
    factors = model.get_layer("scale").factors
    return [_values([factor["factor"]])[0].item() for factor in factors]


def test_in_fit_with_averages_in_a_loss_scale_optimizer():
    pattern = keras.optimizers.AdamW(0.1, weight_decay=0.5, use_ema=True, ema_momentum=0.5)
    model = _model(keras.optimizers.LossScaleOptimizer(DecoupledOptimizer(pattern)))
    first = _fit(model, [0, 1, 0, 1])
    assert first[0] > 1 < first[1]
    assert first[2] == 1
    second = _fit(model, [0, 0, 0, 0])
    assert second[0] > first[0]
    assert second[1:] == first[1:]


def test_in_fit_and_from_files(tmp_path):
    def make():
        return DecoupledOptimizer(PATTERNS["accumulation"](), {"scale/own_0": 0.5})

    model = _model(make())
    _fit(model, [0, 1, 0, 1], batch_size=1)
    model.save(tmp_path / "model.keras")
    model.save_weights(tmp_path / "model.weights.h5")
    ours, other = keras.saving.load_model(tmp_path / "model.keras"), _model(make())
    other.optimizer.build(other.trainable_variables)
    other.load_weights(tmp_path / "model.weights.h5")
    assert ours.optimizer.learning_rate_multipliers == {"scale/own_0": 0.5}
    assert [int(copy.iterations) for copy in model.optimizer.copies] == [2, 1, 1, 0]
    # What was accumulated and the momentum decide where the next step goes.
    gradients = [np.full(1, value, "float32") for value in (1, 2, 0, 3)]
    for each in (model, ours, other):
        _step(each.optimizer, each.trainable_variables, gradients)
        _assert_equal(_state(each.optimizer), _state(model.optimizer))
        _assert_equal(_values(each.trainable_variables), _values(model.trainable_variables))


def test_where_there_are_no_averages_keras_says_so():
    model = _model(DecoupledOptimizer(keras.optimizers.SGD(0.1)))
    _fit(model, [0, 0, 1, 1])
    swap = keras.callbacks.SwapEMAWeights()
    with pytest.raises(ValueError, match="use_ema"):
        model.evaluate([ONES, np.zeros((4, 1), "int32")], ONES, verbose=0, callbacks=[swap])


@pytest.mark.slow_on("tensorflow")
@pytest.mark.parametrize("scaled", [False, True])
def test_keras_evaluates_with_the_averages(scaled):
    optimizer = DecoupledOptimizer(keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.5))
    if scaled:
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=8.0)
    model = _model(optimizer)
    _fit(model, [0, 0, 1, 1], batch_size=2, shuffle=False)
    # Another step each; `fit` has just put the averages into the model.
    layer = model.get_layer("scale")
    shared, *own = [float(v[0]) for v in _values(model.trainable_variables)]
    model.train_on_batch([ONES, np.array([[0], [0], [1], [1]], "int32")], 2 * ONES)
    moved = _values(model.trainable_variables)
    averages = [(old + new[0]) / 2 for old, new in zip((shared, *own), moved, strict=True)]
    x = [ONES[:3], np.array([[0], [1], [2]], "int32")]
    swap = keras.callbacks.SwapEMAWeights()
    found = model.evaluate(x, 2 * ONES[:3], verbose=0, callbacks=[swap])
    expected = np.mean([(2 - averages[0] * average) ** 2 for average in averages[1:]])
    assert found == pytest.approx(expected, rel=1e-5)
    assert layer.factors[2]["factor"].value[0] == 1  # never seen: its average is itself
    for new, old in zip(_values(model.trainable_variables), moved, strict=True):
        np.testing.assert_allclose(new, old, rtol=1e-6)
