import keras
import pytest

from keras_espmedsam.optimizers.elementwise import is_elementwise

ELEMENTWISE = (
    "Adadelta", "Adagrad", "Adam", "AdamW", "Adamax", "Ftrl", "Lion", "Nadam", "RMSprop", "SGD",
)  # fmt: skip


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_of_keras_own(name):
    assert is_elementwise(getattr(keras.optimizers, name)())


@pytest.mark.parametrize("name", ["Lamb", "Adafactor", "Muon"])
def test_those_that_look_at_whole_variables_do_not(name):
    assert not is_elementwise(getattr(keras.optimizers, name)())


def test_of_a_class_of_the_users_own_only_if_it_says_so():
    class Own(keras.optimizers.SGD):
        pass

    class Elementwise(Own):
        elementwise = True

    assert not is_elementwise(Own())
    assert is_elementwise(Elementwise())
