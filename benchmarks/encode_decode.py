"""What decoding again costs beside encoding, and what mixing modalities in a batch costs.

    KERAS_BACKEND=torch python benchmarks/encode_decode.py

Both are ratios of medians within one run, so that they mean something on a noisy machine.
"""

import argparse
import platform
import statistics
import time

import keras
import numpy as np

import keras_espmedsam as kem


def compiled(function, *example):
    """A function as the backend runs it in `predict`: traced on TensorFlow and JAX."""
    if keras.backend.backend() == "jax":
        import jax

        function = jax.jit(function)
    elif keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        function = tf.function(function)
    else:
        import torch

        function = torch.inference_mode()(function)

    def run(*arguments):
        outputs = function(*arguments)
        return keras.tree.map_structure(keras.ops.convert_to_numpy, outputs)

    run(*example)
    return run


def medians(calls, repeats):
    """Median seconds of each call, measured in turn so that noise meets all alike."""
    times = [[] for _ in calls]
    for _ in range(repeats):
        for seconds, call in zip(times, calls, strict=True):
            start = time.perf_counter()
            call()
            seconds.append(time.perf_counter() - start)
    return [statistics.median(seconds) for seconds in times]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--preset", default="espmedsam_nano_256")
    parser.add_argument("--repeats", type=int, default=10)
    arguments = parser.parse_args()

    segmenter = kem.models.ESPMedSAMImageSegmenter.from_preset(arguments.preset)
    size = segmenter.preprocessor.image_converter.image_size
    count = len(segmenter.modalities)
    images = np.random.default_rng(0).normal(size=(count, *size, 3)).astype("float32")
    images = keras.ops.convert_to_tensor(images)
    mixed = keras.ops.arange(count, dtype="int32")
    same = keras.ops.zeros(count, dtype="int32")
    encode = compiled(segmenter.encode, images, mixed)
    embeddings = keras.ops.convert_to_tensor(encode(images, mixed))
    decode = compiled(segmenter.decode, embeddings, mixed)
    encoding, one_modality, decoding = medians(
        [
            lambda: encode(images, mixed),
            lambda: encode(images, same),
            lambda: decode(embeddings, mixed),
        ],
        arguments.repeats,
    )
    print(
        f"{arguments.preset}, batch {count}, {keras.backend.backend()}, {platform.machine()}, "
        f"keras {keras.__version__}"
    )
    print(f"decode / encode: {decoding / encoding:.2f}")
    print(f"encode, mixed batch / batch of one modality: {encoding / one_modality:.2f}")


if __name__ == "__main__":
    main()
