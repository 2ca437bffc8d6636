"""Small sound files of models: of presets, adapters, runs and artefacts.

Of one tiny segmenter, made alike wherever it is made: of a preset one file is damaged, and a reader
has the others.
"""

import io
import json
import pathlib
import tempfile
from functools import cache

import numpy as np

PRESET_FILES = (
    *("config.json", "task.json", "preprocessor.json", "image_converter.json"),
    *("model.weights.h5", "SHA256SUMS"),
)
SIDE = 32
_NAMES = ("xray", "fundus")


@cache
def segmenter():
    """A segmenter of some ten thousand weights."""
    import keras

    import keras_espmedsam as kem

    keras.utils.set_random_seed(0)
    encoder = kem.models.TinyViTBackbone(
        image_shape=(SIDE, SIDE, 3),
        hidden_dims=(8, 8),
        depths=(1, 1),
        num_heads=(2,),
        window_sizes=(4,),
        strides=(2,),
        neck_dim=16,
        num_modalities=len(_NAMES),
        adapter_ratio=1,
    )
    backbone = kem.models.ESPMedSAMBackbone(
        encoder,
        modalities=_NAMES,
        transformer_depth=1,
        transformer_num_heads=2,
        transformer_mlp_dim=16,
    )
    converter = kem.models.ESPMedSAMImageConverter(image_size=(SIDE, SIDE))
    preprocessor = kem.models.ESPMedSAMImageSegmenterPreprocessor(converter)
    return kem.models.ESPMedSAMImageSegmenter(backbone, preprocessor)


def make_preset(folder):
    """Save the segmenter; returns the folder, a path."""
    from keras_espmedsam.hub.checksums import write_checksums

    folder = pathlib.Path(folder)
    segmenter().save_to_preset(folder)
    # Alike whenever it is made.
    metadata = folder / "metadata.json"
    said = json.loads(metadata.read_text()) | {"date_saved": "2026-11-30@00:00:00"}
    metadata.write_text(json.dumps(said))
    write_checksums(folder)
    return folder


def preset_seeds():
    """dict of a preset's file to its content."""
    with tempfile.TemporaryDirectory() as folder:
        preset = make_preset(folder)
        return {name: (preset / name).read_bytes() for name in PRESET_FILES}


def adapter_seeds():
    """Files of adapters of the segmenter's encoder and of all of it."""
    import keras_espmedsam as kem

    found = []
    with tempfile.TemporaryDirectory() as folder:
        preset = make_preset(pathlib.Path(folder) / "preset")
        for rank, names in ((1, None), (2, ["qkv"])):
            backbone = kem.models.ESPMedSAMBackbone.from_preset(preset)
            backbone.enable_lora(rank, *([names] if names else ()))
            path = pathlib.Path(folder) / "some.lora.h5"
            backbone.save_lora_weights(path)
            found.append(path.read_bytes())
    return found


def trained_model():
    """The smallest model that a run may train, compiled and with an optimiser's variables."""
    import keras

    keras.utils.set_random_seed(0)
    inputs = keras.Input((3,))
    model = keras.Model(inputs, keras.layers.Dense(2, name="mix")(inputs), name="student")
    model.compile(keras.optimizers.Adam(1e-3), "mse")
    model.optimizer.build(model.trainable_variables)
    return model


def run_seeds():
    """dict of each file of a run that is read when it goes on, to its content.

    A distillation writes the same files, with its student's weights as the best.
    """
    from keras_espmedsam.training import RunFolder

    with tempfile.TemporaryDirectory() as folder:
        run = RunFolder(folder, monitor="loss")
        x, y = np.ones((4, 3), "float32"), np.ones((4, 2), "float32")
        run.fit(trained_model(), x, y, epochs=2, verbose=0)
        return {
            path.name: path.read_bytes()
            for path in sorted(pathlib.Path(folder).iterdir())
            if path.name in ("state.npz", "best.weights.h5")
        }


def description():
    """What the JSON file beside an artefact says, of any format."""
    return {
        "task": "segmentation",
        "format": "onnx",
        "precision": "float32",
        "computes_in": ["float32"],
        "flavor": "images",
        "preset": "espmedsam_nano_256",
        "keras_espmedsam": "0.1.0",
        "licence": "Apache-2.0",
        "normalization": {"mean": [123.675, 116.28, 103.53], "divisor": [58.395, 57.12, 57.375]},
        "resize_mode": "pad",
        "intensity": "auto",
        "inputs": {
            "images": {"dtype": "float32", "shape": [None, SIDE, SIDE, 3], "values": "RGB"},
            "modalities": {"dtype": "int32", "shape": [None], "values": "index"},
        },
        "modalities": list(_NAMES),
        "size_multiple": 32,
        "outputs": {
            "masks": {"dtype": "uint8", "shape": [None, SIDE, SIDE]},
            "probabilities": {"dtype": "float32", "shape": [None, SIDE, SIDE]},
        },
        "threshold": 0.5,
        "sha256": {"model.onnx": "0" * 64},
    }


def onnx_seeds():
    """A graph of a few operators that gives probabilities of images."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    kernel = np.linspace(-1, 1, 3 * 9, dtype="float32").reshape(1, 3, 3, 3)
    nodes = [
        helper.make_node("Cast", ["images"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["numbers"], ["first"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["first", "kernel"], ["features"], pads=[1, 1, 1, 1]),
        helper.make_node("Sigmoid", ["features"], ["four"]),
        helper.make_node("Squeeze", ["four", "axes"], ["probabilities"]),
    ]
    graph = helper.make_graph(
        nodes,
        "segmenter",
        [
            helper.make_tensor_value_info("images", TensorProto.UINT8, [None, SIDE, SIDE, 3]),
        ],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, SIDE, SIDE])],
        [
            numpy_helper.from_array(kernel, "kernel"),
            numpy_helper.from_array(np.array([1], "int64"), "axes"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    content = io.BytesIO()
    onnx.save(model, content)
    return [content.getvalue()]


def description_seeds():
    """Of an artefact's JSON file."""
    return [json.dumps(description()).encode()]
