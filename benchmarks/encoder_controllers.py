"""What modality controllers of keras-hub's encoders cost: parameters and CPU time of one image.

    export OMP_NUM_THREADS=1 TF_NUM_INTRAOP_THREADS=1
    KERAS_BACKEND=torch python benchmarks/encoder_controllers.py

Six modalities, one image of 256 x 256, random weights. CPU milliseconds, the least of `--repeats`
runs that alternate between the models.
"""

import argparse
import contextlib
import time

import keras
import numpy as np

from keras_espmedsam.models import KerasHubImageEncoder

STAGES = 7
BACKBONES = {
    "EfficientNet-Lite0": {
        "class_name": "EfficientNetBackbone",
        "config": {
            "stackwise_width_coefficients": [1.0] * STAGES,
            "stackwise_depth_coefficients": [1.0] * STAGES,
            "stackwise_kernel_sizes": [3, 3, 5, 3, 5, 5, 3],
            "stackwise_num_repeats": [1, 2, 2, 3, 3, 4, 1],
            "stackwise_input_filters": [32, 16, 24, 40, 80, 112, 192],
            "stackwise_output_filters": [16, 24, 40, 80, 112, 192, 320],
            "stackwise_expansion_ratios": [1, 6, 6, 6, 6, 6, 6],
            "stackwise_squeeze_and_excite_ratios": [0.0] * STAGES,
            "stackwise_strides": [1, 2, 2, 2, 1, 2, 1],
            "stackwise_block_types": ["v1"] * STAGES,
            "activation": "relu6",
            "num_features": 1280,
        },
    },
    "ResNet-18": {
        "class_name": "ResNetBackbone",
        "config": {
            "input_conv_filters": [64],
            "input_conv_kernel_sizes": [7],
            "stackwise_num_filters": [64, 128, 256, 512],
            "stackwise_num_blocks": [2, 2, 2, 2],
            "stackwise_num_strides": [1, 2, 2, 2],
            "block_type": "basic_block",
        },
    },
}
VARIANTS = {
    "none": {"num_modalities": 0},
    "default": {},
    "P3 and P4": {"controller_levels": ("P3", "P4")},
    "all levels": {"controller_levels": ("P1", "P2", "P3", "P4", "P5")},
    "default, adapter_ratio 4": {"adapter_ratio": 4},
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=15)
    repeats = parser.parse_args().repeats
    image = np.random.default_rng(0).normal(size=(1, 256, 256, 3)).astype("float32")
    print(f"backend {keras.backend.backend()}")
    print("| backbone | controllers | parameters | of one modality | CPU ms |")
    print("|---|---|---|---|---|")
    for name, backbone in BACKBONES.items():
        rows, calls = {}, {}
        for variant, options in VARIANTS.items():
            options = {"num_modalities": 6, **options}
            if name == "ResNet-18" and "P1" in options.get("controller_levels", ()):
                options["controller_levels"] = ("P2", "P3", "P4", "P5")  # It has no P1.
            encoder = KerasHubImageEncoder(backbone, neck_dim=96, **options)
            own = [w for layer in encoder.controller_layers(0) for w in layer.weights]
            rows[variant] = (encoder.count_params(), sum(int(np.prod(w.shape)) for w in own))
            inputs = image
            if encoder.num_modalities:
                inputs = {"images": image, "modalities": np.array([2], "int32")}
            calls[variant] = compiled(encoder, inputs)
        times = {variant: [] for variant in calls}
        with without_gradients():
            for _ in range(repeats + 1):
                for variant, call in calls.items():
                    start = time.process_time()
                    call()
                    times[variant].append(time.process_time() - start)
        for variant, (total, own) in rows.items():
            least = 1000 * min(times[variant][1:])
            print(f"| {name} | {variant} | {total:,} | {own:,} | {least:.1f} |", flush=True)


def compiled(encoder, inputs):
    """Return a function of nothing that computes the embedding."""
    inputs = keras.tree.map_structure(keras.ops.convert_to_tensor, inputs)
    if keras.backend.backend() == "jax":
        import jax

        states = [
            [variable.value for variable in variables]
            for variables in (encoder.trainable_variables, encoder.non_trainable_variables)
        ]
        function = jax.jit(lambda *args: encoder.stateless_call(*args, training=False)[0])
        return lambda: jax.block_until_ready(function(*states, inputs))
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        function = tf.function(lambda given: encoder(given, training=False))
        return lambda: function(inputs).numpy()
    return lambda: encoder(inputs, training=False)


def without_gradients():
    """Switch off autograd on PyTorch."""
    if keras.backend.backend() != "torch":
        return contextlib.nullcontext()
    import torch

    return torch.inference_mode()


if __name__ == "__main__":
    main()
