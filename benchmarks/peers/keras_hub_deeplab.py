"""DeepLabV3+ of keras-hub on EfficientNet-Lite0, by keras-hub's own task.

keras-hub is Apache 2.0. One network for all modalities with one output channel for each. Batches
and loss are those of our own configuration: keras-hub has no recipe for medical images.
"""

import os

import numpy as np
from budgeted_training import rate_factor, train_within
from lite_weights import DIVISOR, MEAN
from peer import Peer
from peer_data import MODALITIES, TrainingBatches
from placed_prediction import SIZE, predict_placed

from keras_espmedsam.errors import InputError

PRESET = "ESPMEDSAM_LITE0"
WEIGHTS = "averaged.weights.h5"
AVERAGE = 0.99


class DeepLab(Peer):
    title = "DeepLabV3+, Lite0 from ImageNet (keras-hub)"
    changed = (
        "Pyramid pooling at stride 32 with rates 6, 12, 18 and low-level features at stride 4, as "
        "in keras-hub's example; AdamW, weight decay 0.05, half a cosine from a rate of 0.0005, "
        "gradients clipped to a norm of 1, moving averages of the weights (0.99), 256 x 256 "
        "throughout; our loss"
    )
    licence = "keras-hub Apache 2.0; weights Apache 2.0, from ImageNet"

    def train(self, data, seconds, seed, folder):
        import keras

        keras.utils.set_random_seed(seed)
        # A second size would be traced anew, which costs minutes.
        batches = TrainingBatches(data, seed, small_share=0)
        return train_within(seconds, folder, KerasTraining(build(_preset())), batches)

    def load(self, data, folder):
        self._network = build(_preset())
        self._network.load_weights(folder / WEIGHTS)

    def predict(self, images, modality):
        channel = MODALITIES.index(modality)

        def probabilities(batch):
            logits = np.asarray(self._network.predict_on_batch(_inputs(batch)))[..., channel]
            return 1 / (1 + np.exp(-logits))

        return predict_placed(probabilities, images)

    def parameters(self):
        return self._network.count_params()


def build(preset, size=SIZE):
    """Return the task, with the preset's encoder.

    Args:
        preset: path of a preset of `keras_hub.models.EfficientNetBackbone`.
        size: int. Height and width of its images.
    """
    import keras_hub

    encoder = keras_hub.models.Backbone.from_preset(preset)
    backbone = keras_hub.models.DeepLabV3Backbone(
        image_encoder=encoder,
        projection_filters=48,
        low_level_feature_key="P2",
        spatial_pyramid_pooling_key="P5",
        upsampling_size=8,
        dilation_rates=[6, 12, 18],
        image_shape=(size, size, 3),
    )
    return keras_hub.models.DeepLabV3ImageSegmenter(backbone, num_classes=len(MODALITIES))


class KerasTraining:
    """The steps of a training of a Keras network, for `train_within`.

    Args:
        network: `keras.Model` of images `(batch, height, width, 3)` to a channel of logits for each
            modality.
        rate: float. The highest learning rate.
    """

    suffix = ".weights.h5"

    def __init__(self, network, rate=5e-4):
        import keras

        self.network = network
        self.rate = rate
        self.optimizer = keras.optimizers.AdamW(
            rate, weight_decay=0.05, global_clipnorm=1.0, use_ema=True, ema_momentum=AVERAGE
        )
        network.compile(optimizer=self.optimizer, loss=_channel_loss(), metrics=None)

    def step(self, batch, share):
        images, modalities, masks = batch
        # What is not labelled is -1.
        labels = np.full((*masks.shape[:3], len(MODALITIES)), -1, "float32")
        for row, modality in enumerate(modalities):
            labels[row, ..., modality] = masks[row, ..., 0]
        self.optimizer.learning_rate = self.rate * rate_factor(share)
        found = self.network.train_on_batch(_inputs(images), labels, return_dict=True)
        return float(found["loss"])

    def save(self, path):
        self.network.save_weights(path)

    def load(self, path):
        self.optimizer.build(self.network.trainable_variables)
        self.network.load_weights(path)

    def finish(self, folder):
        self.optimizer.finalize_variable_values(self.network.trainable_variables)
        self.network.save_weights(folder / WEIGHTS)


def _channel_loss():
    from keras import ops

    from keras_espmedsam.losses import DiceFocalLoss

    loss = DiceFocalLoss()

    def call(labels, logits):
        labelled = ops.cast(labels >= 0, logits.dtype)
        own = ops.sum(logits * labelled, axis=-1, keepdims=True)
        return loss(ops.sum(labels * labelled, axis=-1, keepdims=True), own)

    return call


def _inputs(images):
    return (images.astype("float32") - MEAN) / DIVISOR


def _preset():
    path = os.environ.get(PRESET)
    if not path or not os.path.isdir(path):
        raise InputError(
            f"Received {PRESET}={path or ''}; expected the folder that `espmedsam convert "
            "efficientnet-lite` writes."
        )
    return path
