"""Choose levels of a feature pyramid, and cut it at them to put something in between."""

import keras

from keras_espmedsam._shown import shown_value
from keras_espmedsam.errors import InputError, did_you_mean
from keras_espmedsam.models.inference_graph import inference_graph

# Finer levels have few channels and many pixels.
FINEST_STRIDE = 8


def chosen_levels(backbone, levels, names, coarsest=None):
    """Return the names of some levels, checked, or the usual ones.

    Args:
        backbone: `keras.Model`, for errors.
        levels: dict of str to `FeatureLevel`, from fine to coarse.
        names: list of str; `None` for those of stride 8 or more, or the last one if there are none.
        coarsest: int or None. The largest stride of the usual ones.

    Returns:
        tuple of str.

    Raises:
        InputError: for anything but a list of names of levels.
    """
    if names is None:
        usual = [
            name
            for name, level in levels.items()
            if FINEST_STRIDE <= level.stride <= (coarsest or level.stride)
        ]
        return tuple(usual) or (list(levels)[-1],)
    names = [names] if isinstance(names, str) else names
    if not isinstance(names, list | tuple) or not names:
        raise InputError(
            f"Received {shown_value(names)} for levels of {type(backbone).__name__}; expected some "
            f"of {', '.join(levels)}."
        )
    for name in names:
        if not isinstance(name, str) or name not in levels:
            raise InputError(
                f"Received the level {shown_value(name)} of {type(backbone).__name__}; expected "
                f"one of {', '.join(levels)}{did_you_mean(name, levels)}"
            )
    return tuple(dict.fromkeys(names))


class Functional(keras.Model):
    """A part of a graph that has a faster form for inference.

    It has the name of Keras' class because files name the weights of layers in lists by class.

    Example:
        >>> image = keras.Input((8, 8, 3))
        >>> y = keras.layers.Conv2D(4, 2, strides=2)(image)
        >>> stage = Functional(image, {"P1": y})
        >>> tuple(stage(np.zeros((1, 8, 8, 3), "float32"))["P1"].shape)
        (1, 4, 4, 4)
    """

    def __init__(self, inputs, outputs, **kwargs):
        super().__init__(inputs, outputs, **kwargs)
        self._infer = None
        # A pass takes half the time on JAX and less on PyTorch; on TensorFlow no gain is measured.
        if keras.backend.backend() != "tensorflow":
            # Not the model itself, whose layers would become this one's, and be saved twice.
            self._infer = inference_graph(self).call

    def call(self, inputs, training=None, mask=None):
        if training or self._infer is None:
            return super().call(inputs, training=training, mask=mask)
        return self._infer(inputs, training=False)


def cut_at(images, levels, names):
    """Cut the graph of a pyramid at some of its levels.

    A graph can be cut at a level if everything after it reads that level alone. This holds for
    EfficientNet, ResNet, DenseNet, CSPNet and MiT, but not for RetinaNet, whose coarse levels do
    not come from its finer ones.

    Args:
        images: `keras.KerasTensor`, the input of the graph.
        levels: dict of str to `keras.KerasTensor`, from fine to coarse.
        names: collection of str. The levels to cut at; where that is not possible, the graph stays
            whole. The last level needs no cut.

    Returns:
        list of `Functional` that share the graph's layers. The first takes the input, each other
        one the last level of the one before; each returns a dict of its levels.

    Example:
        >>> image = keras.Input((8, 8, 3))
        >>> fine = keras.layers.Conv2D(4, 2, strides=2)(image)
        >>> coarse = keras.layers.Conv2D(8, 2, strides=2)(fine)
        >>> stages = cut_at(image, {"P1": fine, "P2": coarse}, {"P1"})
        >>> [list(stage.output) for stage in stages]
        [['P1'], ['P2']]
    """
    order = list(levels)
    stages, start, first = [], images, 0
    for i, name in enumerate(order):
        is_last = i + 1 == len(order)
        if not is_last and (name not in names or not _is_cut(levels, order[i + 1 :], name)):
            continue
        own = order[first : i + 1]
        stages.append(
            Functional(start, {one: levels[one] for one in own}, name=f"stage_{len(stages)}")
        )
        start, first = levels[name], i + 1
    return stages


def _is_cut(levels, later, name):
    """Whether all later levels can be computed from this one alone."""
    try:
        keras.Model(levels[name], {one: levels[one] for one in later})
    except ValueError:  # Keras: an output is not connected to the inputs.
        return False
    return True
