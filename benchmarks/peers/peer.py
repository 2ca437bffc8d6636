"""What a peer is: a way of training and segmenting that is compared with ours.

`compare.py` runs each peer in a process of its own, by the steps below. A peer is one class in one
file; `peer_table.py` lists them.
"""

import abc
import importlib.util

from keras_espmedsam.errors import InputError


class Peer(abc.ABC):
    """A method that is trained for a number of CPU seconds and then segments images.

    Class attributes:
        title: str. What it is called in the tables.
        changed: str. A sentence: what was changed from the library's own defaults.
        augmentation: str. `"ours"` or `"its own"`.
        licence: str. Of the library, and of the weights that it begins with.
        backend: str. Keras' backend in its process.
        modules: tuple of str. Packages that the project's own environment lacks.
        install: str. The arguments of `pip install` that bring them.
    """

    title = ""
    changed = ""
    augmentation = "ours"
    licence = ""
    backend = "tensorflow"
    modules: tuple[str, ...] = ()
    install = ""

    def prepare(self, data, folder):  # noqa: B027  Most peers need none.
        """Write what training needs into a folder; its time is not counted.

        Args:
            data: `PeerData`.
            folder: path; what an interrupted call left there is used or replaced.
        """

    @abc.abstractmethod
    def train(self, data, seconds, seed, folder):
        """Train for a number of CPU seconds; after an interruption, the same call goes on.

        Args:
            data: `PeerData`.
            seconds: float. CPU seconds of one core, all modalities together.
            seed: int.
            folder: path of checkpoints, and of what `load` reads.

        Returns:
            dict of what is worth reporting: `cpu_seconds`, `steps` and others.
        """

    @abc.abstractmethod
    def load(self, data, folder):
        """Read what `train` wrote, before `predict`."""

    @abc.abstractmethod
    def predict(self, images, modality):
        """Return the probabilities of the modality's target.

        Args:
            images: list of uint8 `(height, width, 3)`.
            modality: str, of all of them.

        Returns:
            list of float32 `(height, width)`, each of its image's own size.
        """

    def parameters(self):
        """Return the number of weights, all networks together, after `load`."""
        raise NotImplementedError


def check_modules(peer):
    """Raise `InputError` if packages that a peer needs are not in this environment."""
    missing = [name for name in peer.modules if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(
            f"{peer.title} needs {', '.join(missing)}, which this environment does not have. Make "
            f"one of its own, `pip install torch==2.13.0` first and then `pip install "
            f"{peer.install}`, and give its Python as --python or ESPMEDSAM_PEERS_PYTHON."
        )


class AsSegmenter:
    """A peer in the form in which `keras_espmedsam.evaluation.evaluate` measures a segmenter.

    Args:
        peer: a `Peer` after `load`.
        modalities: tuple of str.
    """

    def __init__(self, peer, modalities):
        self.peer = peer
        self.modalities = modalities

    def segment(self, images, modalities, threshold=0.5, batch_size=8, mirror=False):
        """Return `{"masks", "probabilities"}`, lists in the order of the images."""
        probabilities = [None] * len(images)
        for modality in dict.fromkeys(modalities):
            rows = [i for i, name in enumerate(modalities) if name == modality]
            found = self.peer.predict([images[i] for i in rows], modality)
            for i, one in zip(rows, found, strict=True):
                if one.shape != images[i].shape[:2]:
                    raise InputError(
                        f"{self.peer.title} returned probabilities of shape {one.shape} for an "
                        f"image of shape {images[i].shape}; expected one for each pixel."
                    )
                probabilities[i] = one
        return {
            "masks": [one >= threshold for one in probabilities],
            "probabilities": probabilities,
        }
