"""The texts of a bioimage.io package: its rdf.yaml and its documentation."""

import hashlib
import re
from datetime import UTC, datetime

PAPER = {
    "text": "Xu et al.: ESP-MedSAM, Efficient Self-Prompting SAM for Universal Domain-Generalized "
    "Medical Image Segmentation (2024)",
    "doi": "10.48550/arXiv.2407.14153",
}
VERSION = "0.5.12"
OPSET = 18
LICENCE_FILE = "LICENSE.txt"
# Those that models have most often; the specification takes SPDX' names, or else a file.
_SPDX = frozenset(
    """
    AGPL-3.0-only Apache-2.0 BSD-2-Clause BSD-3-Clause CC-BY-4.0 CC-BY-NC-4.0 CC-BY-NC-SA-4.0
    CC-BY-SA-4.0 CC0-1.0 GPL-3.0-only GPL-3.0-or-later MIT MPL-2.0
    """.split()
)


def describe_package(about, weights, tensors, authors=()):
    """Return the content of rdf.yaml.

    Args:
        about: the description of the ONNX file, from `export_model`.
        weights: bytes of the ONNX file.
        tensors: dict of `images`, `masks` and `probabilities` to test arrays.
        authors: names.

    Returns:
        dict, ready for JSON.
    """
    (modality,) = about["modalities"]
    licence = about["licence"]
    planes = {
        "masks": about.get("targets", {}).get(modality, ["mask"]),
        "probabilities": about.get("channels", {}).get(modality, ["mask"]),
    }
    height, width = tensors["images"].shape[1:3]
    preset = (about["preset"] or "ESP-MedSAM").replace("@", " version ")
    name = re.sub(r"[^A-Za-z0-9 ._+-]", "_", f"{preset} {modality}")
    outputs = [
        _tensor(
            key,
            _places(height, width) + _channels(tensors[key], planes[key]),
            {"type": str(tensors[key].dtype)},
            what,
        )
        for key, what in (
            ("masks", "1 where a target is, at a threshold of 0.5"),
            ("probabilities", "of each target, 0 to 1"),
        )
    ]
    return {
        "type": "model",
        "format_version": VERSION,
        "name": name[:128],
        "description": f"ESP-MedSAM for {modality} images: "
        f"{', '.join(planes['masks'])}. Research only; not a medical device.",
        "authors": [{"name": one} for one in authors] or [{"name": "unknown"}],
        "cite": [PAPER],
        "license": licence if licence in _SPDX else {"source": LICENCE_FILE},
        "documentation": {"source": "README.md"},
        "attachments": [{"source": "espmedsam.json"}],
        "tags": ["segmentation", "medical", "2d", "rgb", modality],
        "timestamp": datetime.now(UTC).isoformat(timespec="seconds"),
        "inputs": [
            _tensor(
                "images",
                _places(height, width)
                + [{"type": "channel", "channel_names": ["red", "green", "blue"]}],
                {"type": "uint8", "range": [0, 255]},
                "RGB brightness, 0 to 255; see the documentation for images of other sizes",
            )
        ],
        "outputs": outputs,
        "weights": {
            "onnx": {
                "source": "model.onnx",
                "sha256": hashlib.sha256(weights).hexdigest(),
                "opset_version": OPSET,
            }
        },
    }


def _tensor(name, axes, data, description):
    return {
        "id": name,
        "description": description,
        "axes": axes,
        "data": data,
        "test_tensor": {"source": f"{name}.npy"},
    }


def _places(height, width):
    return [
        {"type": "batch"},
        {"type": "space", "id": "y", "size": height},
        {"type": "space", "id": "x", "size": width},
    ]


def _channels(tensor, names):
    if tensor.ndim == 3:
        return []
    # Hidden channels, such as nuclei:boundary, are no identifiers.
    return [{"type": "channel", "channel_names": [one.replace(":", "_") for one in names]}]


def licence_text(about):
    """Return the text of the package's licence file.

    Args:
        about: the description of the ONNX file.
    """
    return (
        f"Licence of the weights: {about['licence']}\n\nIntended use: {about['intended_use']}. "
        "The card of the preset that this file was exported from has the terms.\n"
    )


def document(about):
    """Return the package's documentation, Markdown.

    Args:
        about: the description of the ONNX file.
    """
    (modality,) = about["modalities"]
    height, width = about["inputs"]["images"]["shape"][1:3]
    how = f"to {height} x {width}"
    if about["resize_mode"] == "pad":
        mean = [round(value) for value in about["normalization"]["mean"]]
        how = f"so that it fits into {height} x {width}, and pad it below and right with {mean}"
    return f"""# ESP-MedSAM: {modality}

Segments {", ".join(about.get("targets", {}).get(modality, ["foreground"]))} in {modality} images.
Exported from the preset {about["preset"] or "(unnamed)"} with keras-espmedsam
{about["keras_espmedsam"]}. For {about["intended_use"]}. Licence: {about["licence"]}.

## Use

Give RGB images with values from 0 to 255. Resize an image {how}.
Cut the padding off the mask, and resize it back. Normalisation is inside. The threshold of the
masks is {about["threshold"]}. `espmedsam.json` in this package says all of this to programs.

## Validation

The ONNX file was run in ONNX Runtime and compared with the Keras model when it was exported. The
preset's card says how good its masks are; check them on images of your own before you rely on them.
"""
