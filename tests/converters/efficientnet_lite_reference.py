"""Outputs of `efficientnet-lite-pytorch` for weights that a seed makes; run it to write them again.

    python tests/converters/efficientnet_lite_reference.py

Only the numbers are stored, so that they are compared on every backend, with or without PyTorch.
"""

import pathlib

import numpy as np

FILE = pathlib.Path(__file__).with_suffix(".npz")
VARIANTS = ("efficientnet-lite0", "efficientnet-lite2")
# On the way down their sides are even and odd, where padding differs: 76, 38, 19, 10, 5 and 53, 27,
# 14, 7, 4.
SIZE = (76, 53)


def random_tensors(shapes, seed=0):
    """Weights with which activations keep their scale, so that rounding is not amplified.

    Args:
        shapes: dict of name to shape.
        seed: int.
    """
    rng = np.random.default_rng(seed)
    tensors = {}
    for name in sorted(shapes):
        values = rng.normal(size=shapes[name])
        if len(shapes[name]) > 1:
            values *= np.sqrt(1 / np.prod(shapes[name][1:]))
        elif name.endswith(("running_var", "weight")):
            values = 0.5 + rng.uniform(size=shapes[name])
            # Small sums of many blocks, and a last map that its activation cuts at 6.
            values *= 0.5 if name.endswith("_bn2.weight") else 5 if name == "_bn1.weight" else 1
        else:
            values *= 0.3
        tensors[name] = values.astype("float32")
    return tensors


def image():
    """One image, `(1, height, width, 3)` in [-1, 1]."""
    return np.random.default_rng(1).uniform(-1, 1, (1, *SIZE, 3)).astype("float32")


def published(name, size=SIZE):
    """The published implementation, `(network, shapes of its tensors)`."""
    from efficientnet_lite_pytorch import EfficientNet

    network = EfficientNet.from_name(name, image_size=list(size)).eval()
    shapes = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    return network, {key: shape for key, shape in shapes.items() if "num_batches" not in key}


def published_features(network, tensors, images):
    """Its last feature map, channels last."""
    import torch

    state = {name: torch.from_numpy(tensor) for name, tensor in tensors.items()}
    network.load_state_dict(state, strict=False)
    with torch.no_grad():
        features = network.extract_features(torch.from_numpy(images.transpose(0, 3, 1, 2)))
    return features.numpy().transpose(0, 2, 3, 1)


def main():
    found = {}
    for name in VARIANTS:
        network, shapes = published(name)
        found[name] = published_features(network, random_tensors(shapes), image())
        print(name, found[name].shape, found[name].mean(), (found[name] > 0).mean())
    np.savez_compressed(FILE, **found)


if __name__ == "__main__":
    main()
