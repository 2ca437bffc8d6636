"""What a network gives is computed once for each image."""

import numpy as np

from keras_espmedsam.evaluation.remembered_outputs import RememberedOutputs


class Network:
    name = "a network"

    def __init__(self):
        self.sizes = []

    def predict_with_statistics(self, images, indices):
        self.sizes.append(len(images))
        return images[..., 0] + indices[:, None, None], images.mean(axis=(1, 2))


IMAGES = np.random.default_rng(0).random((4, 2, 3, 3)).astype("float32")
INDICES = np.array([0, 1, 0, 1], "int32")


def test_each_image_is_computed_once_and_other_batches_give_the_same():
    network = Network()
    kept = RememberedOutputs(network)
    expected = network.predict_with_statistics(IMAGES, INDICES)
    network.sizes.clear()
    for rows in ([0, 1, 2, 3], [2], [3, 0]):
        values, statistics = kept.predict_with_statistics(IMAGES[rows], INDICES[rows])
        np.testing.assert_array_equal(values, expected[0][rows])
        np.testing.assert_array_equal(statistics, expected[1][rows])
        np.testing.assert_array_equal(
            kept.predict_probabilities(IMAGES[rows], INDICES[rows]), values
        )
    assert network.sizes == [4]
    assert kept.name == "a network"
    # The same image as another modality's is another one.
    values, _ = kept.predict_with_statistics(IMAGES[:1], np.array([1], "int32"))
    np.testing.assert_allclose(values, IMAGES[:1, ..., 0] + 1, atol=1e-6)


def test_what_is_too_much_is_computed_again():
    network = Network()
    size = 4 * (2 * 3 + 3)
    kept = RememberedOutputs(network, most_bytes=2 * size)
    for row in (0, 1, 2, 0, 1, 2):
        kept.predict_with_statistics(IMAGES[[row]].copy(), np.zeros(1, "float32"))
    assert network.sizes == [1] * 4
