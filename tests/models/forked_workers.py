"""Train and predict while forked workers of a DataLoader read; a process of its own.

    python forked_workers.py

A process that has run other tests has threads of many libraries, whose locks a fork copies as they
are. Workers must not compute: a model that is used in a forked process hangs. A worker that fails
as it ends is seen by torch, or not, by chance: its exit code is looked at here.
"""

import multiprocessing.popen_fork
import threading

import keras
import numpy as np
import torch

import keras_espmedsam as kem

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (4, 40, 56, 3), dtype="uint8")
NAMES = ("skin", "lung", "eye")
LABELS = ["skin", "eye", "lung", "eye"]


class Samples(torch.utils.data.Dataset):
    def __len__(self):
        return len(IMAGES)

    def __getitem__(self, index):
        return IMAGES[index], LABELS[index]


class Loader(torch.utils.data.DataLoader):
    def __iter__(self):
        threading.current_thread()  # Makes a thread known to Python that Python did not start.
        return super().__iter__()


class NotedPopen(multiprocessing.popen_fork.Popen):
    """A forked process whose exit code is kept."""

    exit_codes = {}

    def poll(self, *args):
        code = super().poll(*args)
        self.exit_codes[self.pid] = code
        return code


def main():
    multiprocessing.context.ForkProcess._Popen = staticmethod(NotedPopen)
    image = keras.Input((None, None, 3))
    backbone = keras.Model(image, keras.layers.Conv2D(8, 8, strides=8)(image))
    preprocessor = kem.models.TiCImageClassifierPreprocessor(kem.models.TiCImageConverter((32, 32)))
    model = kem.models.TiCImageClassifier(backbone, class_names=NAMES, preprocessor=preprocessor)
    model.compile(keras.optimizers.SGD(0.1))
    expected = model.predict(IMAGES, verbose=0)
    loader = Loader(
        Samples(),
        batch_size=2,
        num_workers=2,
        multiprocessing_context="fork",
        timeout=60,  # Fails rather than hangs.
    )
    np.testing.assert_allclose(model.predict(loader, verbose=0), expected, atol=1e-6)
    history = model.fit(loader, epochs=2, validation_data=loader, verbose=0)
    assert len(history.history["val_loss"]) == 2
    exit_codes = set(NotedPopen.exit_codes.values())
    assert exit_codes == {0}, exit_codes
    print("done")


if __name__ == "__main__":
    main()
