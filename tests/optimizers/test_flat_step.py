"""A step on vectors against the slow way, a step on each variable."""

import keras
import numpy as np
import pytest

from keras_espmedsam.optimizers import DecoupledOptimizer, decoupled_optimizer
from keras_espmedsam.optimizers.flat_step import built, can_be_flat

# Each with all that it has: momentum, centring, the averages of its moments.
OPTIMIZERS = {
    "Adadelta": {},
    "Adagrad": {"initial_accumulator_value": 0.25},
    "Adam": {"amsgrad": True},
    "AdamW": {"weight_decay": 0.5},
    "Adamax": {},
    "Ftrl": {"l1_regularization_strength": 0.01},
    "Lion": {"weight_decay": 0.25},
    "Nadam": {},
    "RMSprop": {"momentum": 0.5, "centered": True},
    "SGD": {"momentum": 0.9, "nesterov": True},
}
OPTIONS = {
    "plain SGD": ("SGD", {}),
    "clipnorm": ("AdamW", {"clipnorm": 0.1}),
    "clipvalue": ("AdamW", {"clipvalue": 0.1}),
    "global_clipnorm": ("SGD", {"momentum": 0.9, "global_clipnorm": 0.1}),
    "averages": ("AdamW", {"use_ema": True, "ema_momentum": 0.5, "ema_overwrite_frequency": 2}),
    "accumulation": ("AdamW", {"gradient_accumulation_steps": 2, "global_clipnorm": 0.5}),
    "accumulation and averages": ("Adam", {"gradient_accumulation_steps": 2, "use_ema": True}),
    "loss_scale_factor": ("Adam", {"loss_scale_factor": 4.0}),
}
# Of the shared variables, and of the modalities 0, 1 and 2, which is never there.
FACTORS = ((1, 1, 0, 0), (2, 0, 1, 0), (-1, 1, 0, 0), (1, 0, 0, 0), (1, -1, 2, 0))
SHAPES = ((3, 2), (5,), (2, 1, 2), ())


def _variables(dtype="float32"):
    rng = np.random.default_rng(0)
    variables = []
    for modality in (None, 0, 1, 2):
        for k, shape in enumerate(SHAPES):
            name = f"weight_{modality}_{k}"
            value = rng.normal(size=shape).astype("float32")
            variables.append(keras.Variable(value, dtype=dtype, name=name))
            if modality is not None:
                variables[-1].modality = modality
    return variables


def _gradients(step, dtype="float32"):
    rng = np.random.default_rng(step + 1)
    return [
        keras.ops.convert_to_tensor((factor * rng.normal(size=shape)).astype("float32"), dtype)
        for factor in FACTORS[step]
        for shape in SHAPES
    ]


def _arrays(variables):
    values = [keras.ops.cast(v.value, "float32") for v in variables]
    return [keras.ops.convert_to_numpy(value) for value in values]


def _train(monkeypatch, flat, make, dtype="float32", missing=(), multipliers=None):
    """Values of variables and of the optimiser after five steps, as Keras trains.

    `missing` tells which variables have no gradient: always, or a dict of those in each step.
    """
    monkeypatch.setattr(
        decoupled_optimizer, "can_be_flat", can_be_flat if flat else lambda *args: False
    )
    # On PyTorch only accelerators take this way.
    monkeypatch.setattr(decoupled_optimizer, "_pays", lambda variables: True)
    variables = _variables(dtype)
    optimizer = DecoupledOptimizer(make(), multipliers)
    optimizer.build(variables)
    assert all((g.flat is not None) == flat for gs in optimizer._by_modality() for g in gs)

    def gradients_of(step):
        found = _gradients(step, dtype)
        absent = missing.get(step, ()) if isinstance(missing, dict) else missing
        return [None if k in absent else g for k, g in enumerate(found)]

    if keras.backend.backend() == "jax":
        import jax

        step = jax.jit(optimizer.stateless_apply)
        values, state = [v.value for v in variables], [v.value for v in optimizer.variables]
        for k in range(len(FACTORS)):
            values, state = step(state, gradients_of(k), values)
        everything = [*variables, *optimizer.variables]
        for variable, value in zip(everything, [*values, *state], strict=True):
            variable.assign(value)
    elif keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        step = tf.function(lambda gradients: optimizer.apply(gradients, variables))
        for k in range(len(FACTORS)):
            step(gradients_of(k))
    else:
        for k in range(len(FACTORS)):
            optimizer.apply(gradients_of(k), variables)
    optimizer.finalize_variable_values(variables)
    names = [v.path for v in optimizer.variables]
    return _arrays(variables), _arrays(optimizer.variables), names


def _assert_same(monkeypatch, make, rtol=2e-6, atol=1e-7, **kwargs):
    values, state, names = _train(monkeypatch, True, make, **kwargs)
    slow_values, slow_state, slow_names = _train(monkeypatch, False, make, **kwargs)
    for one, other in zip((*values, *state), (*slow_values, *slow_state), strict=True):
        np.testing.assert_allclose(one, other, rtol=rtol, atol=atol)
    assert [name.split("/")[1:] for name in names] == [n.split("/")[1:] for n in slow_names]
    untouched = _arrays(_variables(kwargs.get("dtype", "float32")))[-len(SHAPES) :]
    for value, start in zip(values[-len(SHAPES) :], untouched, strict=True):
        np.testing.assert_array_equal(value, start)
    return values


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_each_elementwise_optimizer(name, monkeypatch):
    kind = getattr(keras.optimizers, name)
    _assert_same(monkeypatch, lambda: kind(learning_rate=0.1, **OPTIMIZERS[name]))


@pytest.mark.parametrize("option", OPTIONS)
def test_each_option(option, monkeypatch):
    name, options = OPTIONS[option]
    _assert_same(monkeypatch, lambda: getattr(keras.optimizers, name)(0.1, **options))


def test_what_does_not_decay_and_has_another_rate(monkeypatch):
    def make():
        optimizer = keras.optimizers.AdamW(0.1, weight_decay=0.5, global_clipnorm=0.5)
        # Of the shared ones one does not decay, of the first modality none does.
        optimizer.exclude_from_weight_decay(var_names=["weight_None_1", "weight_0"])
        return optimizer

    _assert_same(monkeypatch, make, multipliers={"weight_None_0": 0.5, "weight_1_2": 2.0})


@pytest.mark.filterwarnings("ignore:Gradients do not exist")
def test_a_variable_without_a_gradient_stays(monkeypatch):
    missing = (1, 5, 6)
    values = _assert_same(
        monkeypatch, lambda: keras.optimizers.AdamW(0.1, weight_decay=0.5), missing=missing
    )
    for k in missing:
        np.testing.assert_array_equal(values[k], _arrays(_variables())[k])


@pytest.mark.slow_on("tensorflow")
@pytest.mark.filterwarnings("ignore:Gradients do not exist")
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"gradient_accumulation_steps": 2},
        {"use_ema": True, "ema_momentum": 0.5, "ema_overwrite_frequency": 2},
    ],
    ids=["plain", "accumulation", "averages"],
)
def test_a_gradient_that_comes_and_goes(options, monkeypatch):
    """In the step that updates, what had accumulated of a variable whose gradient is missing."""
    # Of a shared variable, and one of modality 0.
    missing = {1: (1, 5), 2: (2,), 3: (1,)}
    _assert_same(
        monkeypatch,
        lambda: keras.optimizers.AdamW(0.1, weight_decay=0.5, **options),
        missing=missing,
    )


def test_in_half_precision(monkeypatch):
    _assert_same(
        monkeypatch, lambda: keras.optimizers.SGD(0.125, momentum=0.5), dtype="bfloat16", rtol=0.02
    )


def test_several_types_of_variables(monkeypatch):
    monkeypatch.setattr(decoupled_optimizer, "_pays", lambda variables: True)
    variables = [keras.Variable(np.ones(3), dtype=dtype) for dtype in ("float32", "bfloat16")]
    optimizer = DecoupledOptimizer(keras.optimizers.SGD(0.5))
    optimizer.build(variables)
    optimizer.apply([keras.ops.ones(3, v.dtype) for v in variables], variables)
    for variable in variables:
        np.testing.assert_array_equal(_arrays([variable])[0], [0.5] * 3)


def test_masked_as_on_an_accelerator(monkeypatch):
    """Where reading flags, or branching on them, would make the device wait for the host."""
    monkeypatch.setattr(decoupled_optimizer, "_can_be_read", lambda tensor: False)
    monkeypatch.setattr("keras_espmedsam.optimizers.flat_step._on_processor", lambda: False)
    _assert_same(monkeypatch, lambda: keras.optimizers.AdamW(0.1, weight_decay=0.5))


def test_absent_modalities_stay_bit_for_bit_and_twice_gives_twice_the_same(monkeypatch):
    def make():
        return keras.optimizers.AdamW(0.1, weight_decay=0.5)

    ones, others = _train(monkeypatch, True, make), _train(monkeypatch, True, make)
    for one, other in zip(ones[0] + ones[1], others[0] + others[1], strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("writer", [True, False])
def test_both_ways_read_each_others_files(writer, monkeypatch):
    def made(flat):
        monkeypatch.setattr(
            decoupled_optimizer, "can_be_flat", can_be_flat if flat else lambda *args: False
        )
        monkeypatch.setattr(decoupled_optimizer, "_pays", lambda variables: True)
        optimizer, variables = DecoupledOptimizer(keras.optimizers.AdamW(0.1)), _variables()
        optimizer.build(variables)
        return optimizer, variables

    (one, variables), (other, twins) = made(writer), made(not writer)
    one.apply(_gradients(0), variables)
    store = {}
    one.save_own_variables(store)
    other.load_own_variables(store)
    for new, old in zip(twins, variables, strict=True):
        new.assign(old.value)
    one.apply(_gradients(1), variables)
    other.apply(_gradients(1), twins)
    everything = (*variables, *one.variables), (*twins, *other.variables)
    for a, b in zip(*map(_arrays, everything), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-6, atol=1e-7)


# === Who keeps the slow way ===


def test_on_a_processor_pytorch_has_operations_for_lists_already():
    optimizer = DecoupledOptimizer(keras.optimizers.AdamW(0.1))
    optimizer.build([keras.Variable([1.0])])
    [[group]] = optimizer._by_modality()
    assert (group.flat is None) == (keras.backend.backend() == "torch")


def test_variables_with_a_constraint_and_clipped_means_keep_the_slow_way():
    optimizer, variable = keras.optimizers.AdamW(0.1), keras.Variable([1.0, -2.0])
    assert can_be_flat(optimizer, [variable])
    clipped = keras.optimizers.AdamW(0.1, clipnorm=1.0, gradient_accumulation_steps=2)
    assert not can_be_flat(clipped, [variable])
    variable.constraint = keras.constraints.NonNeg()
    assert not can_be_flat(optimizer, [variable])
    variable.modality = 0
    decoupled = DecoupledOptimizer(keras.optimizers.SGD(1.0))
    decoupled.build([variable])
    decoupled.apply([keras.ops.ones(2)], [variable])
    np.testing.assert_array_equal(_arrays([variable])[0], [0.0, 0.0])


def test_the_slow_way_is_told_once():
    class Own(keras.optimizers.SGD):
        pass

    with pytest.warns(UserWarning, match="Own is not known to act element by element") as told:
        for _ in range(2):
            DecoupledOptimizer(Own(0.1)).build([keras.Variable([1.0])])
    assert sum("element by element" in str(one.message) for one in told) == 1


def test_an_optimizer_that_says_so_takes_the_fast_way(monkeypatch):
    class Own(keras.optimizers.SGD):
        elementwise = True

    _assert_same(monkeypatch, lambda: Own(0.1, momentum=0.5))


def test_an_optimizer_that_says_so_in_error_is_refused(monkeypatch):
    class Norms(keras.optimizers.SGD):
        """One number per variable is not one per element."""

        elementwise = True

        def build(self, variables):
            super().build(variables)
            self.norms = [self.add_variable((), name="norm") for _ in variables]

    monkeypatch.setattr(decoupled_optimizer, "_pays", lambda variables: True)
    optimizer = DecoupledOptimizer(Norms(0.1))
    with pytest.raises(ValueError, match="says elementwise = True, but keeps other states"):
        optimizer.build([keras.Variable([1.0]), keras.Variable([2.0])])


def test_states_are_found_by_their_variable():
    one, two = keras.Variable([1.0]), keras.Variable([1.0, 2.0])
    optimizer = keras.optimizers.Adam()
    slots = built(optimizer, [one, two])
    assert [len(slots[id(v)]) for v in (one, two)] == [2, 2]
    assert [tuple(slot.shape) for slot in slots[id(two)]] == [(2,), (2,)]
    assert "add_variable_from_reference" not in vars(optimizer)
