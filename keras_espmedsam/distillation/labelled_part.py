"""The labelled pictures of distillation batches, for a segmenter's own `fit`."""

import keras


class LabelledPart(keras.utils.PyDataset):
    """Batches of a `DistillationDataset` with labels, as a segmenter without preprocessor has them.

    Args:
        dataset: `DistillationDataset` of the domain alone, with `labels=True`.

    Gives `({"images", "modalities"}, {"masks", "patches"})`.

    Source: ours.
    """

    def __init__(self, dataset):
        super().__init__()
        self.dataset = dataset

    @property
    def epoch(self):
        """The data set's own, so that a run which goes on can set it."""
        return self.dataset.epoch

    @epoch.setter
    def epoch(self, epoch):
        self.dataset.epoch = epoch

    @property
    def num_batches(self):
        return self.dataset.num_batches

    def __getitem__(self, index):
        x, y = self.dataset[index]
        return x["domain"], y

    def on_epoch_end(self):
        self.dataset.on_epoch_end()
