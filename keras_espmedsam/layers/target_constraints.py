"""What the declared targets of a modality imply for their logits."""

import keras
from keras import ops

from keras_espmedsam.layers.modality_variables import select_flags, used_channels
from keras_espmedsam.ops.device_constant import device_number


@keras.saving.register_keras_serializable(package="keras_espmedsam")
class TargetConstraints(keras.layers.Layer):
    """Make exclusive targets exclusive, keep nested ones inside, and close unused channels.

    - Exclusive targets: a logit becomes that of the target's softmax probability among the group
      and the background, whose own logit is 0. So a sigmoid of it is this probability.
    - Nested targets: an inner logit is at most that of its outer target. The outer one learns
      nothing from it.
    - Channels beyond the targets of a sample's modality become -inf.

    Args:
        num_channels: tuple of int. Channels of each modality.
        groups: tuple of tuple of int. Each channel's exclusive group, from 1, or 0; a row per
            modality. Empty for none.
        outer: tuple of tuple of int. The channel that contains each channel, or -1; a row per
            modality. Empty for none.

    Input: logits `(batch, height, width, channels)` and `modalities`, `(batch,)` int, or `None`
    with a single modality.
    Output shape: as the input.

    Example:
        >>> layer = TargetConstraints(num_channels=(2, 1), groups=((1, 1), (0, 0)))
        >>> logits = layer(np.zeros((2, 1, 1, 2), "float32"), np.array([0, 1]))
        >>> keras.ops.convert_to_numpy(keras.ops.sigmoid(logits))[1, 0, 0].tolist()
        [0.5, 0.0]
    """

    def __init__(self, num_channels, groups=(), outer=(), **kwargs):
        super().__init__(**kwargs)
        self.num_channels = tuple(num_channels)
        self.groups = tuple(map(tuple, groups))
        self.outer = tuple(map(tuple, outer))
        self.built = True

    def call(self, logits, modalities=None):
        count = logits.shape[-1]
        channels = [logits[..., i : i + 1] for i in range(count)]
        channels = self._exclude(channels, modalities)
        channels = self._nest(channels, modalities)
        logits = channels[0] if count == 1 else ops.concatenate(channels, axis=-1)
        used = used_channels(self.num_channels, modalities)
        if used is not None:
            logits = ops.where(used, logits, device_number(-float("inf"), like=logits))
        return logits

    def _exclude(self, channels, modalities):
        found = []
        for i, logit in enumerate(channels):
            rivals = [
                j
                for j in range(len(channels))
                if j != i and any(row[i] and row[i] == row[j] for row in self.groups)
            ]
            if rivals:
                # log(1 + sum of exp(rivals)), where only rivals of this sample's modality count.
                never = device_number(-float("inf"), like=logit)
                terms = [ops.zeros_like(logit)]
                for j in rivals:
                    rows = [[bool(row[i] and row[i] == row[j])] for row in self.groups]
                    own = select_flags(rows, modalities)
                    terms.append(channels[j] if own is None else ops.where(own, channels[j], never))
                logit = logit - _log_sum_exp(ops.concatenate(terms, axis=-1))
            found.append(logit)
        return found

    def _nest(self, channels, modalities):
        """Bound inner channels; a row's outermost pairs come first, so that chains hold."""
        channels = list(channels)
        pairs = sorted({(self._depth(row, i), i, o) for row in self.outer for i, o in _pairs(row)})
        for _, inner, outer in pairs:
            bound = ops.stop_gradient(channels[outer])
            bounded = ops.where(bound < channels[inner], bound, channels[inner])
            own = select_flags([[row[inner] == outer] for row in self.outer], modalities)
            if own is not None:
                bounded = ops.where(own, bounded, channels[inner])
            channels[inner] = bounded
        return channels

    @staticmethod
    def _depth(row, channel):
        depth = 0
        while row[channel] >= 0 and depth <= len(row):
            channel, depth = row[channel], depth + 1
        return depth

    def compute_output_spec(self, logits, modalities=None):
        return keras.KerasTensor(logits.shape, dtype=self.compute_dtype)

    def get_config(self):
        return {
            **super().get_config(),
            "num_channels": self.num_channels,
            "groups": self.groups,
            "outer": self.outer,
        }


def _log_sum_exp(terms):
    """Of values whose largest is finite.

    Without the test of `ops.logsumexp` for one that is not, which TFLite does not have as an
    operator, nor ONNX Runtime in float16.
    """
    peak = ops.stop_gradient(ops.max(terms, axis=-1, keepdims=True))
    return peak + ops.log(ops.sum(ops.exp(terms - peak), axis=-1, keepdims=True))


def _pairs(row):
    return [(inner, outer) for inner, outer in enumerate(row) if outer >= 0]
