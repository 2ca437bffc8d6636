import keras
import numpy as np
import pytest

from keras_espmedsam.optimizers.given_optimizer import (
    configuration,
    given_rate,
    is_number,
    share_rate,
)


class _Half(keras.optimizers.schedules.LearningRateSchedule):
    """As many users write one: without a configuration, and registered nowhere."""

    def __call__(self, step):
        return 0.5


RATES = {
    "number": lambda: 0.25,
    "schedule": lambda: keras.optimizers.schedules.ExponentialDecay(0.25, 1, 0.5),
    "schedule without a configuration": _Half,
    "function": lambda: lambda: 0.25,
}


@pytest.mark.parametrize("kind", RATES)
def test_a_configuration_needs_no_rate_that_can_be_written(kind):
    optimizer = keras.optimizers.AdamW(RATES[kind](), weight_decay=0.5, beta_1=0.75)
    rate = given_rate(optimizer)
    config = configuration(optimizer)
    assert given_rate(optimizer) is rate and is_number(rate) == (kind == "number")
    twin = type(optimizer).from_config(config)
    assert (twin.beta_1, twin.weight_decay, twin.name) == (0.75, 0.5, optimizer.name)


def test_a_failed_configuration_leaves_the_rate():
    class Broken(keras.optimizers.SGD):
        def get_config(self):
            raise NotImplementedError

    optimizer = Broken(0.25)
    with pytest.raises(NotImplementedError):
        configuration(optimizer)
    assert float(optimizer.learning_rate) == 0.25


def test_rate_and_steps_are_read_and_set_through_either():
    given, stepping = keras.optimizers.SGD(0.25), keras.optimizers.SGD(0.5)
    listed = [id(variable) for variable in given.variables]
    share_rate(given, stepping)
    assert float(given.learning_rate) == 0.5
    given.learning_rate = 0.125
    assert float(stepping.learning_rate) == 0.125
    stepping.learning_rate.assign(1.0)
    assert float(given.learning_rate) == 1.0
    weight = keras.Variable([1.0])
    stepping.build([weight])
    stepping.apply([keras.ops.ones(1)])
    assert int(given.iterations) == 1
    # What it saves are still its own two.
    assert [id(variable) for variable in given.variables] == listed
    np.testing.assert_array_equal(given.get_config()["learning_rate"], 1.0)
