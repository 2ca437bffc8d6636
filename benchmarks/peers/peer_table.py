"""The peers by name, in the order in which they are run."""

import importlib

from keras_espmedsam.errors import InputError, did_you_mean

# Name to file and class. A peer's libraries are imported when it is used.
PEERS = {
    "smp_unet": ("smp_networks", "PretrainedUnet"),
    "ours": ("labels_only", "PretrainedLite"),
    "specialists": ("labels_only", "Specialists"),
    "smp_fpn": ("smp_networks", "PretrainedFPN"),
    "nnunet": ("nnunet", "NnUNet"),
    "smp_unet_random": ("smp_networks", "RandomUnet"),
    "deeplab": ("keras_hub_deeplab", "DeepLab"),
    "tiny_vit_random": ("labels_only", "RandomTinyViT"),
    "smp_fpn_random": ("smp_networks", "RandomFPN"),
}
OURS = "ours"


def make_peer(name):
    """Return a new `Peer`.

    Raises:
        InputError: for an unknown name.
    """
    if name not in PEERS:
        raise InputError(
            f"Unknown peer {name}{did_you_mean(name, PEERS)} Known: {', '.join(PEERS)}."
        )
    module, kind = PEERS[name]
    return getattr(importlib.import_module(module), kind)()
