"""The graphs for inference give what the layers give that they were made from."""

import keras
import keras_hub
import numpy as np
import pytest

from keras_espmedsam.models.inference_graph import folded_graph, inference_graph

EFFICIENTNET = {
    "stackwise_width_coefficients": [1.0] * 4,
    "stackwise_depth_coefficients": [1.0] * 4,
    "stackwise_kernel_sizes": [3, 5, 3, 3],
    "stackwise_num_repeats": [1, 2, 1, 1],
    "stackwise_input_filters": [8] * 4,
    "stackwise_output_filters": [8] * 4,
    "stackwise_expansion_ratios": [1, 2, 2, 1],
    "stackwise_squeeze_and_excite_ratios": [0.25, 0.0, 0.25, 0.0],
    "stackwise_strides": [1, 2, 2, 1],
    "stackwise_block_types": ["v1", "unfused", "fused", "cba"],
    "stem_conv_padding": "same",
    "num_features": 12,
}
RESNET = {
    "input_conv_filters": [64],
    "input_conv_kernel_sizes": [7],
    "stackwise_num_filters": [64, 8],
    "stackwise_num_blocks": [1, 1],
    "stackwise_num_strides": [1, 2],
    "block_type": "basic_block",
}
CSPNET = {
    "stem_filters": 8,
    "stem_kernel_size": 3,
    "stem_strides": 1,
    "stackwise_depth": [1],
    "stackwise_strides": [2],
    "stackwise_num_filters": [8],
    "stage_type": "dark",
    "block_type": "dark_block",
}
DENSENET = {"stackwise_num_repeats": [1, 1], "compression_ratio": 0.5, "growth_rate": 4}

# How many normalisations stay: those that no convolution comes before.
BACKBONES = [
    ("EfficientNetBackbone", EFFICIENTNET, 0),
    ("ResNetBackbone", RESNET, 0),
    ("ResNetBackbone", {**RESNET, "use_pre_activation": True}, 3),
    ("DenseNetBackbone", DENSENET, 4),
    ("CSPNetBackbone", CSPNET, 0),
]


def norms(model):
    """Return the paths of the moving variances that a model has left."""
    return [weight.path for weight in model.weights if weight.path.endswith("moving_variance")]


def difference(build, model, other, images):
    expected = build.array(model(images))
    assert np.abs(expected).max() > 0.1
    return np.abs(build.array(other(images)) - expected).max() / np.abs(expected).max()


@pytest.mark.parametrize(("name", "config", "count"), BACKBONES)
@pytest.mark.slow_on("jax", "tensorflow")
def test_networks_of_keras_hub(build, name, config, count):
    backbone = build.randomize(getattr(keras_hub.models, name)(**config))
    plain = keras.Model(backbone.input, backbone.output)
    images = np.random.default_rng(0).normal(size=(2, 32, 48, 3)).astype("float32")
    graph, folded = inference_graph(plain), folded_graph(plain)
    assert difference(build, plain, graph, images) < 1e-5
    assert difference(build, plain, folded, images) < 1e-5
    assert len(norms(folded)) == count < len(norms(plain))
    own = {id(weight) for weight in plain.weights}
    assert {id(weight) for weight in graph.weights} <= own
    assert not own & {id(weight) for weight in folded.weights}


class Scaled(keras.layers.Layer):
    """A normalised convolution, times a weight of the layer itself."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.conv = keras.layers.Conv2D(4, 3, use_bias=False)
        self.norm = keras.layers.BatchNormalization()

    def build(self, shape):
        self.factor = self.add_weight(shape=(), initializer="ones")
        self.conv.build(shape)
        self.norm.build((None, None, None, 4))
        self.built = True

    def call(self, x):
        return self.norm(self.conv(x)) * self.factor


def test_what_cannot_be_shown_to_be_equal_stays(build):
    image = keras.Input((8, 8, 4))
    conv = keras.layers.Conv2D(4, 3, padding="same")
    y = conv(image)
    # The convolution's output is also read by another layer; a kernel is dilated.
    y = keras.layers.BatchNormalization()(y) + keras.layers.ReLU()(y)
    y = keras.layers.Conv2D(4, 3, dilation_rate=2, padding="same", use_bias=False)(y)
    y = keras.layers.BatchNormalization(name="after_dilated")(y)
    y = keras.layers.ZeroPadding2D(((2, 0), (1, 3)))(y)
    y = keras.layers.DepthwiseConv2D(3, strides=2)(y)
    y = keras.layers.BatchNormalization(scale=False, center=False)(y)
    y = keras.layers.Dropout(0.5)(y)
    model = build.randomize(keras.Model(image, Scaled(name="scaled")(y)))
    images = np.random.default_rng(1).normal(size=(2, 8, 8, 4)).astype("float32")
    folded = folded_graph(model)
    assert difference(build, model, inference_graph(model), images) < 1e-5
    assert difference(build, model, folded, images) < 1e-5
    assert [path.split("/")[0] for path in norms(folded)] == ["after_dilated", "scaled"]


def test_changed_weights_count(build):
    image = keras.Input((8, 8, 3))
    conv = keras.layers.Conv2D(4, 3, use_bias=False)
    model = keras.Model(image, keras.layers.BatchNormalization()(conv(image)))
    graph = inference_graph(model)
    build.randomize(model)
    images = np.random.default_rng(0).normal(size=(1, 8, 8, 3)).astype("float32")
    assert difference(build, model, graph, images) < 1e-5
    conv.enable_lora(2)
    conv.lora_kernel_b.assign(np.ones(conv.lora_kernel_b.shape, "float32"))
    assert difference(build, model, graph, images) < 1e-5
    assert difference(build, model, folded_graph(model), images) < 1e-5


def test_half_precision_is_normalised_as_before(build):
    with_half = {"dtype": "mixed_bfloat16"}
    image = keras.Input((8, 8, 3))
    y = keras.layers.Conv2D(4, 3, use_bias=False, **with_half)(image)
    model = keras.Model(image, keras.layers.BatchNormalization(**with_half)(y))
    build.randomize(model)
    images = np.random.default_rng(0).normal(size=(1, 8, 8, 3)).astype("float32")
    assert difference(build, model, inference_graph(model), images) < 1e-2
