"""The configuration, read by NVIDIA's own protocol buffer."""

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from keras_espmedsam.export.triton_config import config_text


def test_triton_reads_it():
    description = {
        "name": "eye",
        "inputs": {
            "image": {"dtype": "uint8", "shape": [None, None, 3]},
            "modality": {"dtype": "int32", "shape": [1]},
        },
        "outputs": {
            "masks": {"dtype": "uint8", "shape": [None, None, 5]},
            "scope_score": {"dtype": "float32", "shape": [1]},
        },
    }
    # Raises for a field or a value that Triton does not have.
    config = text_format.Parse(config_text(description), model_config_pb2.ModelConfig())
    assert (config.name, config.backend, config.max_batch_size) == ("eye", "onnxruntime", 0)
    types = model_config_pb2.DataType
    tensors = [(one.name, types.Name(one.data_type), list(one.dims)) for one in config.input]
    assert tensors == [("image", "TYPE_UINT8", [-1, -1, 3]), ("modality", "TYPE_INT32", [1])]
    tensors = [(one.name, types.Name(one.data_type), list(one.dims)) for one in config.output]
    assert tensors == [("masks", "TYPE_UINT8", [-1, -1, 5]), ("scope_score", "TYPE_FP32", [1])]
