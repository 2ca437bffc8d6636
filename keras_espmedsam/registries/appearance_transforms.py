"""Random changes of appearance in training, as `appearance` of a configuration names them.

An entry is a class derived from `keras_espmedsam.training.AppearanceTransform`. They are applied in
this order, which is that of light on its way into a file, and then those of other packages.
"""

from keras_espmedsam.registries.registry import Registry

_PACKAGE = "keras_espmedsam.training.data.appearance"

appearance_transforms = Registry(
    "appearance_transforms",
    "appearance transform",
    {
        "fourier_mixing": f"{_PACKAGE}.fourier_mixing:FourierMixing",
        "illumination": f"{_PACKAGE}.illumination:Illumination",
        "channel_gain": f"{_PACKAGE}.channel_gain:ChannelGain",
        "gamma": f"{_PACKAGE}.gamma:Gamma",
        "blur": f"{_PACKAGE}.gaussian_blur:GaussianBlur",
        "noise": f"{_PACKAGE}.noise:Noise",
        "jpeg": f"{_PACKAGE}.jpeg_compression:JPEGCompression",
    },
)
