import keras

from keras_espmedsam.training.devices.device_names import device_names


def test_names_of_this_machine():
    names = device_names()
    assert len(names) >= 1
    assert all(name.split(":")[0] in ("cpu", "cuda", "gpu", "tpu", "mps", "xpu") for name in names)
    if keras.backend.backend() != "torch":
        assert names == keras.distribution.list_devices()
