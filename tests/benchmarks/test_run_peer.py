"""A peer is prepared, trained and measured like a segmenter of ours."""

import importlib
import json
import os

import numpy as np
import pytest
from PIL import Image

from keras_espmedsam.errors import InputError
from tests.benchmarks.conftest import BENCHMARKS

SIZES = {"a": (8, 6), "b": (5, 7), "c": (6, 6), "d": (6, 6)}


@pytest.fixture
def module(monkeypatch):
    """Import one of benchmarks/peers, as its scripts do each other."""
    monkeypatch.syspath_prepend(BENCHMARKS / "peers")
    return importlib.import_module


@pytest.fixture
def data(module, tmp_path):
    """An index of two X-rays and a fundus image, and of targets that are not compared."""
    rows = ["split,modality,target,dataset,image,mask,group"]
    for name, (height, width) in SIZES.items():
        image = np.zeros((height, width, 3), "uint8")
        image[: height // 2] = 200
        Image.fromarray(image).save(tmp_path / f"{name}.png")
        Image.fromarray(image[..., 0] > 0).save(tmp_path / f"{name}_mask.png")
    rows.append("test,xray,lungs,jsrt,a.png,a_mask.png,one")
    rows.append("test,xray,heart,jsrt,a.png,a_mask.png,one")
    rows.append("unseen,xray,lungs,montgomery,b.png,b_mask.png,")
    rows.append("unseen,fundus,vessels,stare,c.png,c_mask.png,")
    rows.append("unseen,fundus,optic_disc,drishti_gs,d.png,d_mask.png,")
    (tmp_path / "index.csv").write_text("\n".join(rows), encoding="utf-8")
    return module("peer_data").PeerData(tmp_path / "index.csv")


@pytest.fixture
def bright(module):
    """A peer that finds what is bright, and in a fundus image everything."""

    class Bright(module("peer").Peer):
        title, changed, licence = "bright", "nothing", "none"
        trained = 0

        def train(self, data, seconds, seed, folder):
            self.trained += 1
            (folder / "weights").touch()
            return {"cpu_seconds": seconds, "steps": 3}

        def load(self, data, folder):
            assert (folder / "weights").exists()

        def predict(self, images, modality):
            if modality == "fundus":
                return [np.ones(image.shape[:2], "float32") for image in images]
            return [image[..., 0] / np.float32(255) for image in images]

        def parameters(self):
            return 0

    return Bright()


def test_a_peer_is_trained_once_and_measured(module, data, bright, tmp_path):
    run_peer = module("run_peer")
    for step in (*run_peer.STEPS, "train"):
        run_peer.run(step, "bright", tmp_path / "runs", 60, 0, data, bright)
    assert bright.trained == 1
    result = json.loads((tmp_path / "runs" / "result.json").read_text(encoding="utf-8"))
    assert {key: result[key] for key in ("peer", "budget", "seed", "steps", "title")} == {
        **{"peer": "bright", "budget": 60, "seed": 0, "steps": 3, "title": "bright"}
    }
    rows = [
        (one["split"], one["modality"], one["dataset"], one["group"], one["image"], one["dice"])
        for one in result["images"]
    ]
    # All of a fundus image was found, and half of it was to be.
    assert rows == [
        ("test", "xray", "jsrt", "one", "a.png", 1.0),
        ("unseen", "xray", "montgomery", "", "b.png", 1.0),
        ("unseen", "fundus", "stare", "", "c.png", pytest.approx(2 / 3, abs=1e-4)),
    ]


def test_probabilities_of_another_size_are_refused(module, bright):
    bright.predict = lambda images, modality: [np.zeros((2, 2), "float32")] * len(images)
    segmenter = module("peer").AsSegmenter(bright, ("xray",))
    with pytest.raises(InputError, match=r"of shape \(2, 2\) for an image of shape \(4, 5, 3\)"):
        segmenter.segment([np.zeros((4, 5, 3), "uint8")], ["xray"])


def test_squares_are_mapped_back_to_the_images(module):
    images = [np.zeros((4, 8, 3), "uint8"), np.zeros((8, 8, 3), "uint8")]
    images[0][:, :4] = 255

    def red(batch):
        assert batch.shape == (2, 8, 8, 3)
        # What fills up the canvas is no part of the image.
        assert batch[0, 7, 7].tolist() == [124, 116, 104]
        return batch[..., 0] / 255

    found = module("placed_prediction").predict_placed(red, images, size=8)
    assert [one.shape for one in found] == [(4, 8), (8, 8)]
    np.testing.assert_allclose(found[0], images[0][..., 0] / 255)


def _batch(seed=0):
    """Two images of 8 x 8, of the second and the fourth modality, and their masks."""
    rng = np.random.default_rng(seed)
    masks = (rng.random((2, 8, 8, 1)) > 0.5).astype("float32")
    return rng.integers(256, size=(2, 8, 8, 3)).astype("uint8"), np.array([1, 3]), masks


def test_a_network_of_keras_learns_the_channel_of_the_modality_and_resumes(module, tmp_path):
    import keras

    deeplab = module("keras_hub_deeplab")

    def begin():
        keras.utils.set_random_seed(0)
        network = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(6, 1)])
        return network, deeplab.KerasTraining(network)

    network, training = begin()
    before = [np.array(one) for one in network.get_weights()]
    training.step(_batch(), 0.1)
    moved = np.abs(network.get_weights()[1] - before[1]) > 0
    assert moved.tolist() == [False, True, False, True, False, False]
    training.save(tmp_path / "checkpoint.weights.h5")
    again, resumed = begin()
    resumed.load(tmp_path / "checkpoint.weights.h5")
    losses = [one.step(_batch(1), 0.5) for one in (training, resumed)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)
    for one, other in zip(network.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-7)
    # What is kept is the average of the weights after each step.
    after = [np.array(one) for one in network.get_weights()]
    training.finish(tmp_path)
    assert np.abs(network.get_weights()[1] - after[1]).max() > 0


def test_timms_encoder_with_the_packages_weights_has_its_features(module):
    pytest.importorskip("timm", reason="of the peers' own environment")
    pytest.importorskip("efficientnet_lite_pytorch", reason="of the peers' own environment")
    path = os.environ.get("ESPMEDSAM_LITE0_PTH")
    if not path:
        pytest.skip("ESPMEDSAM_LITE0_PTH does not name the weights of EfficientNet-Lite0")
    assert module("lite_weights").largest_difference(path) < 1e-4
