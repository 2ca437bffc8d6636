"""Graphs of Keras' layers for inference, with batch normalisation folded into convolutions."""

import inspect

import keras

from keras_espmedsam.layers.folded_conv import FoldedConv, can_be_folded, norm_can_be_folded


def inference_graph(model):
    """Return a model that computes the same in inference, faster, with the same weights.

    A `BatchNormalization` that follows a convolution is computed with it, and so are zeros that are
    padded before it. Layers that hold such layers, as EfficientNet's blocks do, are replaced by the
    graph that their `call` makes; one whose graph cannot be made stays as it is.

    Args:
        model: functional `keras.Model`.

    Returns:
        `keras.Model`.

    Example:
        >>> image = keras.Input((8, 8, 3))
        >>> conv = keras.layers.Conv2D(4, 3, use_bias=False)
        >>> y = keras.layers.BatchNormalization()(conv(image))
        >>> graph = inference_graph(keras.Model(image, keras.layers.ReLU()(y)))
        >>> [type(layer).__name__ for layer in graph.layers]
        ['InputLayer', 'FoldedConv', 'ReLU']
    """
    return _Rewriting(lambda conv: conv, _Same).of(model)


def folded_graph(model):
    """Return a model that computes the same in inference, with folded weights of its own.

    Args:
        model: functional `keras.Model`. LoRA adapters of its convolutions are merged.

    Returns:
        `keras.Model`; see `inference_graph`.

    Example:
        >>> image = keras.Input((8, 8, 3))
        >>> conv = keras.layers.Conv2D(4, 3, use_bias=False)
        >>> y = keras.layers.BatchNormalization()(conv(image))
        >>> [tuple(weight.shape) for weight in folded_graph(keras.Model(image, y)).weights]
        [(3, 3, 3, 4), (4,)]
    """
    rewriting = _Rewriting(FoldedConv.alone, _copied)
    graph = rewriting.of(model)
    for new, old in rewriting.layers.values():
        if isinstance(old, FoldedConv):
            old.assign_to(new)
        else:
            for one, other in zip(new.weights, old.weights, strict=True):
                one.assign(other)
    return graph


class _Rewriting:
    """Goes through graphs and calls other layers than theirs.

    Args:
        convolution: function from a `FoldedConv` to the layer that is called for it.
        other: function from another layer with weights to the one that is called for it.
    """

    def __init__(self, convolution, other):
        self.convolution = convolution
        self.other = other
        # By what they stand for: the layer that is called, and that one, so that it lives.
        self.layers = {}

    def of(self, model):
        """Return the rewritten graph of a functional model."""
        padded, convolved = {}, {}  # By the id of a tensor, with the tensor, so that it lives.

        def call(layer, *args, **kwargs):
            x = args[0] if args else None
            if can_be_folded(layer):
                start, zeros = x, None
                if id(x) in padded and layer.padding == "valid":
                    _, start, zeros = padded[id(x)]
                y = self._folded(layer, None, zeros)(start)
                convolved[id(y)] = (y, start, layer, zeros)
                return y
            if norm_can_be_folded(layer) and id(x) in convolved:
                _, start, conv, zeros = convolved[id(x)]
                return self._folded(conv, layer, zeros)(start)
            y = self._inside(layer, x, kwargs) if len(args) == 1 else None
            if y is None:
                y = self._layer(layer)(*args, **kwargs)
            if type(layer) is keras.layers.ZeroPadding2D:
                padded[id(y)] = (y, x, layer.padding)
            return y

        return keras.models.clone_model(model, clone_function=lambda one: one, call_function=call)

    def _folded(self, conv, norm, zeros):
        key = (id(conv), id(norm), zeros)
        if key not in self.layers:
            layer = FoldedConv(conv, norm, zeros)
            self.layers[key] = (self.convolution(layer), layer)
        return self.layers[key][0]

    def _layer(self, layer):
        if not isinstance(layer, keras.layers.Layer):
            return layer  # An operation, such as the sum of two tensors.
        if id(layer) not in self.layers:
            new = self.other(layer) if layer.weights else _copied(layer)
            self.layers[id(layer)] = (new, layer)
        return self.layers[id(layer)][0]

    def _inside(self, layer, x, kwargs):
        """Call the rewritten graph of what a layer does, or return `None`."""
        inner = _graph_of(layer, x, kwargs)
        return None if inner is None else self.of(inner)(x)


def _graph_of(layer, x, kwargs):
    """Return the graph of a layer that holds batch normalisation, or `None`."""
    holds_norm = any(path.endswith("moving_variance") for path in _paths(layer))
    if not holds_norm or isinstance(layer, keras.layers.BatchNormalization):
        return None
    if not isinstance(x, keras.KerasTensor) or any(one is not None for one in kwargs.values()):
        return None
    has_mode = "training" in inspect.signature(layer.call).parameters
    image = keras.Input(batch_shape=x.shape, dtype=x.dtype)
    try:
        y = layer.call(image, **({"training": False} if has_mode else {}))
        graph = keras.Model(image, y)
    # What a layer of another package does with a tensor without values can raise anything.
    except Exception:
        return None
    # A weight that the layer itself reads is in no layer of the graph.
    has_all = {id(weight) for weight in graph.weights} == {id(weight) for weight in layer.weights}
    return graph if has_all else None


def _paths(layer):
    if not isinstance(layer, keras.layers.Layer):
        return []
    return [weight.path for weight in layer.weights]


def _copied(layer):
    return type(layer).from_config(layer.get_config())


class _Same(keras.layers.Layer):
    """Calls a layer of another graph, which does not see the call: its `output` stays unique."""

    def __init__(self, layer):
        super().__init__(dtype=layer.dtype_policy)
        self.layer = layer

    def call(self, inputs, **kwargs):
        return self.layer(inputs, **kwargs)

    def compute_output_spec(self, inputs, **kwargs):
        return self.layer.compute_output_spec(inputs, **kwargs)
