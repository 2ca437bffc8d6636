"""The labelled images of distillation batches, for a segmenter's own `fit`."""

import keras


class LabelledPart(keras.utils.PyDataset):
    """Batches of a `DistillationDataset` with labels, for a segmenter without preprocessor.

    Args:
        source: `DistillationDataset` of the domain only, with `labels=True`.

    Yields `({"images", "modalities"}, {"masks", "patches"})`.
    """

    def __init__(self, source):
        super().__init__()
        self.source = source

    @property
    def num_batches(self):
        return self.source.num_batches

    def __getitem__(self, index):
        x, y = self.source[index]
        return x["domain"], y

    def on_epoch_end(self):
        self.source.on_epoch_end()
