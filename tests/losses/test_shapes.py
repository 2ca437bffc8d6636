"""A truth that does not fit is refused: broadcast, it would train on something else."""

import numpy as np
import pytest

from keras_espmedsam import losses
from keras_espmedsam.errors import InputError

LOSSES = [getattr(losses, name) for name in losses.__all__ if name != "get"]


@pytest.mark.parametrize("shape", [(2, 3, 5), (2, 3, 5, 2), (1, 3, 5, 1), (3, 5)])
@pytest.mark.parametrize("loss", LOSSES)
def test_another_shape_is_refused(loss, shape):
    with pytest.raises(InputError, match=f"{loss.__name__}|Loss") as error:
        loss()(np.zeros(shape, "float32"), np.zeros((2, 3, 5, 1), "float32"))
    assert f"y_true of shape {shape}" in str(error.value)


def test_sizes_unknown_to_a_tensorflow_graph():
    tf = pytest.importorskip("tensorflow")
    import keras

    if keras.backend.backend() != "tensorflow":
        pytest.skip("only a TensorFlow graph has unknown sizes")
    y_true, logits = np.ones((2, 4, 4, 1), "float32"), np.zeros((2, 4, 4, 1), "float32")
    expected = float(losses.DiceFocalLoss()(y_true, logits))

    def graph(shape):
        signature = [tf.TensorSpec(shape), tf.TensorSpec((2, None, None, 1))]
        return tf.function(losses.DiceFocalLoss(), input_signature=signature, autograph=False)

    assert float(graph((None, None, None, 1))(y_true, logits)) == expected
    with pytest.raises(InputError, match="y_true of unknown rank"):
        graph(None)(y_true, logits)
