"""A plain U-Net, for comparison: trained on the same images, in the same way, by the same code.

    python benchmarks/unet.py CONFIG.yaml [--set KEY=VALUE ...]

The configuration is one of `espmedsam train`, whose `model` it puts aside. Two 3 x 3 convolutions
with BatchNorm and ReLU on each of five levels, 16 to 256 wide; 1.9 million parameters. It is not
told the modality. Its convolutions are computed as ours are.
"""

import argparse

import keras
from keras import ops
from keras_hub.models import Backbone

import keras_espmedsam as kem
from keras_espmedsam.layers.convolution import Conv2D
from keras_espmedsam.layers.upscaling_conv2d import UpscalingConv2D

ANY = "any"


def _convolutions(x, width, name):
    for i in range(2):
        x = Conv2D(width, 3, pad=1, use_bias=False, name=f"{name}_conv_{i}")(x)
        x = keras.layers.BatchNormalization(name=f"{name}_norm_{i}")(x)
        x = keras.layers.ReLU(name=f"{name}_relu_{i}")(x)
    return x


@keras.saving.register_keras_serializable(package="keras_espmedsam_benchmarks")
class UNetBackbone(Backbone):
    """A U-Net with the outputs of an `ESPMedSAMBackbone`, of which the patches mean nothing."""

    modalities = (ANY,)

    def __init__(self, width=16, levels=5, dtype=None, **kwargs):
        images = x = keras.Input((None, None, 3), name="images")
        skips = []
        for level in range(levels - 1):
            x = _convolutions(x, width * 2**level, f"down_{level}")
            skips.append(x)
            x = keras.layers.MaxPooling2D(name=f"down_{level}_pool")(x)
        x = _convolutions(x, width * 2 ** (levels - 1), "bottom")
        for level in reversed(range(levels - 1)):
            x = UpscalingConv2D(width * 2**level, name=f"up_{level}_transpose")(x)
            x = keras.layers.Concatenate(name=f"up_{level}_skip")([x, skips[level]])
            x = _convolutions(x, width * 2**level, f"up_{level}")
        masks = Conv2D(1, 1, name="masks")(x)
        outputs = {"masks": masks, "patches": ops.zeros_like(masks[:, ::32, ::32])}
        super().__init__(inputs={"images": images}, outputs=outputs, dtype=dtype, **kwargs)
        self.width = width
        self.levels = levels

    def get_config(self):
        return {**super().get_config(), "width": self.width, "levels": self.levels}


@keras.saving.register_keras_serializable(package="keras_espmedsam_benchmarks")
class UNetImageSegmenter(kem.models.ESPMedSAMImageSegmenter):
    """The segmenter of a `UNetBackbone`, by which keras-hub finds it in a preset."""

    backbone_cls = UNetBackbone


def build_unet(settings, image_size=None, resize_mode=None, precision="float32", _=False):
    """As `kem.training.build_segmenter`, whatever the settings say of the model."""
    converter = kem.models.ESPMedSAMImageConverter(
        image_size=image_size, **({"resize_mode": resize_mode} if resize_mode else {})
    )
    preprocessor = kem.models.ESPMedSAMImageSegmenterPreprocessor(converter)
    return UNetImageSegmenter(UNetBackbone(dtype=precision), preprocessor)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("config")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    arguments = parser.parse_args()
    overrides = [f"data.sources.0.modality={ANY}", *arguments.set]
    kem.training.train(arguments.config, overrides, build=build_unet, verbose=2)
