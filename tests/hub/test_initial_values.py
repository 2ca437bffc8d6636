import threading

import keras
import numpy as np
import pytest

from keras_espmedsam.hub.initial_values import load_undrawn


def _dense():
    layer = keras.layers.Dense(3, kernel_initializer="he_normal")
    layer.build((None, 2))
    return layer


def _kernel(layer):
    return keras.ops.convert_to_numpy(layer.kernel)


def test_replaced_values_are_not_drawn():
    drawn = []

    def load():
        layer = _dense()
        drawn.append(_kernel(layer))
        layer.set_weights([np.ones((2, 3)), np.zeros(3)])
        return layer

    layer = load_undrawn(load)
    assert len(drawn) == 1 and np.isnan(drawn[0]).all()
    np.testing.assert_array_equal(_kernel(layer), np.ones((2, 3)))


def test_a_part_that_no_weights_replace_is_drawn():
    loads = []
    layer = load_undrawn(lambda: loads.append(_dense()) or loads[-1])
    assert layer is loads[1] and len(loads) == 2
    assert np.isfinite(_kernel(layer)).all() and np.ptp(_kernel(layer)) > 0


@pytest.mark.parametrize("name", ["RandomNormal", "RandomUniform", "TruncatedNormal", "HeNormal"])
def test_everything_is_drawn_afterwards_also_after_an_error(name):
    def fail():
        assert np.isnan(keras.ops.convert_to_numpy(initializer((2,)))).all()
        raise OSError

    initializer = getattr(keras.initializers, name)(seed=1)
    before, call = keras.ops.convert_to_numpy(initializer((2,))), type(initializer).__call__
    with pytest.raises(OSError):
        load_undrawn(fail)
    assert type(initializer).__call__ is call
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(initializer((2,))), before)


def test_other_threads_draw_meanwhile():
    found = []

    def load():
        thread = threading.Thread(target=lambda: found.append(_kernel(_dense())))
        thread.start()
        thread.join()
        layer = _dense()
        layer.set_weights([np.ones((2, 3)), np.zeros(3)])
        return layer

    load_undrawn(load)
    assert np.isfinite(found[0]).all()


def test_zeros_and_ones_are_what_they_are():
    found = []

    def load():
        for name in ("Zeros", "Ones"):
            initializer = getattr(keras.initializers, name)()
            found.append(initializer((2, 3), dtype="float16"))
            found.append(initializer((2,), dtype="int32"))
        return _dense()

    load_undrawn(load)
    assert [str(keras.backend.standardize_dtype(x.dtype)) for x in found[:4]] == [
        "float16",
        "int32",
    ] * 2
    values = [keras.ops.convert_to_numpy(x).ravel().tolist() for x in found[:4]]
    assert values == [[0] * 6, [0] * 2, [1] * 6, [1] * 2]
