"""A small segmenter whose parts all matter, and an artefact that a stranger may have made."""

import hashlib
import json

import numpy as np
import pytest

import keras_espmedsam as kem
from keras_espmedsam.inference.quality import COEFFICIENTS
from tests.small_segmenter import small_segmenter

NAMES = ("skin", "lung", "eye")


@pytest.fixture(scope="session")
def segmenter():
    encoder = kem.models.TinyViTBackbone(
        hidden_dims=(8, 8, 16),
        depths=(1, 1, 1),
        num_heads=(1, 2),
        window_sizes=(4, 4),
        strides=(2, 2),
        neck_dim=16,
        num_modalities=3,
        adapter_ratio=1,
    )
    backbone = kem.models.ESPMedSAMBackbone(
        encoder,
        NAMES,
        transformer_depth=1,
        transformer_num_heads=2,
        transformer_mlp_dim=16,
        detail_dims=(4, 4, 4, 4),
    )
    converter = kem.models.ESPMedSAMImageConverter(image_size=(64, 64))
    preprocessor = kem.models.ESPMedSAMImageSegmenterPreprocessor(converter)
    numbers = dict(zip(COEFFICIENTS, (0.5, 0.3, 0.1, 0.2, -0.1, 0.2), strict=True))
    quality = {"skin": {"mask": numbers}, "eye": {"mask": numbers}}
    scope = {"eye": np.random.default_rng(2).normal(size=33).round(2).tolist()}
    task = kem.models.ESPMedSAMImageSegmenter(backbone, preprocessor, quality=quality, scope=scope)
    return _randomized(task)


@pytest.fixture(scope="session")
def with_targets():
    """Of 4, 1 and 2 channels: exclusive, nested, of another order, and with a hidden one."""
    segmenter = small_segmenter(
        ("eye", "skin", "slide"),
        {"slide": {"nuclei": {"min_area": 8, "fill_holes": True}}},
        targets={"eye": ("disc", "artery", "cup", "vein"), "slide": "nuclei"},
        exclusive={"eye": [("vein", "artery")]},
        nested={"eye": {"cup": "disc"}},
        instances={"slide": {"nuclei": "boundary"}},
        target_adapters={"eye": {"cup": 2}},
    )
    return _randomized(segmenter)


@pytest.fixture(scope="session")
def classifier():
    """Of maps of 16 and 8 pixels, which pooling by 3 pads."""
    backbone = kem.models.TiCBackbone(
        hidden_dims=(16, 32), depths=(1, 1), num_heads=(1, 2), kernel_size=3, pool_size=3
    )
    converter = kem.models.TiCImageConverter(image_size=(64, 64))
    preprocessor = kem.models.TiCImageClassifierPreprocessor(converter)
    return kem.models.TiCImageClassifier(
        backbone, preprocessor=preprocessor, class_names=("eye", "lung")
    )


def _randomized(model):
    rng = np.random.default_rng(1)
    for weight in model.weights:
        value = rng.normal(scale=0.2, size=weight.shape)
        name = weight.path.rsplit("/", 1)[-1]
        if "variance" in name or "gamma" in name:
            value = 1 + np.abs(value)
        weight.assign(value.astype("float32"))
    return model


@pytest.fixture
def stranger(tmp_path):
    """Makes an ONNX file by hand, of brightness times a factor, and the JSON file beside it."""

    def make(factor=1 / 255, nodes=None, name="eye.onnx", model=None, **changes):
        from onnx import TensorProto, helper

        if nodes is None:
            nodes = [
                helper.make_node("Cast", ["images"], ["f"], to=TensorProto.FLOAT),
                helper.make_node("ReduceMean", ["f"], ["m"], axes=[3], keepdims=0),
                helper.make_node("Mul", ["m", "z"], ["probabilities"]),
            ]
        if model is None:
            image = helper.make_tensor_value_info("images", TensorProto.UINT8, [1, 32, 32, 3])
            found = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, None)
            z = helper.make_tensor("z", TensorProto.FLOAT, [], [factor])
            graph = helper.make_graph(nodes, "g", [image], [found], initializer=[z])
            opsets = [helper.make_opsetid("", 17), helper.make_opsetid("mine", 1)]
            model = helper.make_model(graph, opset_imports=opsets)
            model.ir_version = 8
        path = tmp_path / name
        path.write_bytes(model if isinstance(model, bytes) else model.SerializeToString())
        description = {
            "task": "segmentation",
            "format": "onnx",
            "flavor": "images",
            "normalization": {
                "mean": [123.675, 116.28, 103.53],
                "divisor": [58.395, 57.12, 57.375],
            },
            "resize_mode": "pad",
            "inputs": {"images": {"dtype": "uint8", "shape": [1, 32, 32, 3]}},
            "modalities": ["fundus"],
            "sha256": {name: hashlib.sha256(path.read_bytes()).hexdigest()},
        }
        description = {**description, **changes}
        kept = {key: value for key, value in description.items() if value is not ...}
        (tmp_path / f"{name}.json").write_text(json.dumps(kept))
        return path

    return make
