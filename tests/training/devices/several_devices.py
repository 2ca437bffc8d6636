"""Train a tiny segmenter on two devices, on PyTorch also on one, and write the outcome as JSON.

    python several_devices.py OUTPUT [targets]

With `targets` the segmenter has several targets for a modality, and half of the images label only
the first. On PyTorch `torchrun --nproc-per-node 2` in place of `python`.
"""

import contextlib
import json
import os
import sys

if os.environ["KERAS_BACKEND"] == "tensorflow":
    import tensorflow as tf

    (cpu,) = tf.config.list_physical_devices("CPU")
    halves = [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(cpu, halves)
    # Graphs that run eight times.
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})

import keras
import numpy as np

import keras_espmedsam as kem
from keras_espmedsam.training.devices import sharded_batches

if keras.backend.backend() == "jax":
    import jax

    jax.config.update("jax_disable_most_optimizations", True)

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (4, 4, 32, 32, 3), dtype="uint8")
MASKS = (RNG.random((4, 4, 32, 32, 1)) > 0.7).astype("uint8")
# Modalities of four batches. Each device gets two of a batch; modality 2 is in none.
MODALITIES = np.array([[0, 0, 1, 1], [0, 0, 0, 0], [1, 0, 1, 1], [0, 0, 0, 1]], "int32")


# Of `skin`, two exclude each other; of `lung`, one lies in another, and one is labelled nowhere.
TARGETS = {
    "targets": {"skin": ("mole", "hair"), "lung": ("lobe", "node", "rib")},
    "exclusive": {"skin": [("mole", "hair")]},
    "nested": {"lung": {"node": "lobe"}},
}


class Batches(keras.utils.PyDataset):
    """Batches of these sizes: the first samples of each of the four."""

    def __init__(self, *sizes, targets=False):
        super().__init__()
        self.sizes = sizes
        self.targets = targets

    @property
    def num_batches(self):
        return len(self.sizes)

    def __getitem__(self, index):
        rows = slice(self.sizes[index])
        modalities, masks = MODALITIES[index][rows], MASKS[index][rows]
        x = {"images": IMAGES[index][rows], "modalities": modalities}
        return x, (partly_labelled(masks, modalities) if self.targets else masks)


def partly_labelled(masks, modalities):
    second = np.where(modalities[:, None, None, None] == 0, 1 - masks, masks)
    second[:, 16:] = 0
    labelled = np.ones((len(masks), 3), bool)
    labelled[1::2, 1] = labelled[:, 2] = False
    return {"masks": np.concatenate([masks, second, 0 * masks], axis=-1), "labelled": labelled}


def make_segmenter(**options):
    image = keras.Input((32, 32, 3))
    x = keras.layers.Conv2D(8, 16, strides=16, name="stem")(image)
    x = keras.layers.BatchNormalization(name="stem_norm", trainable=False)(x)
    encoder = keras.Model(image, x)
    backbone = kem.models.ESPMedSAMBackbone(
        encoder,
        modalities=("skin", "lung", "eye"),
        transformer_depth=1,
        transformer_num_heads=2,
        transformer_mlp_dim=8,
        shared_hypernetwork=False,
        **options,
    )
    converter = kem.models.ESPMedSAMImageConverter(image_size=(32, 32))
    preprocessor = kem.models.ESPMedSAMImageSegmenterPreprocessor(converter)
    segmenter = kem.models.ESPMedSAMImageSegmenter(backbone, preprocessor)
    rng = np.random.default_rng(1)
    for weight in segmenter.trainable_variables:
        weight.assign(rng.normal(scale=0.3, size=weight.shape).astype("float32"))
    return segmenter


def train(count, targets=False):
    keras.utils.set_random_seed(0)
    alone = contextlib.nullcontext(kem.training.Devices())
    with kem.training.distribute(count) if count > 1 else alone as devices:
        segmenter = make_segmenter(**(TARGETS if targets else {}))
        before = values(segmenter)
        optimizer = keras.optimizers.SGD(0.1, momentum=0.9, weight_decay=0.1, global_clipnorm=0.5)
        segmenter.compile(optimizer)
        devices.prepare(segmenter)
        validation = Batches(2, 1, targets=targets)
        history = segmenter.fit(
            devices.share(Batches(4, 4, 4, 4, targets=targets)),
            # Of JAX' two forms, the one that it compiles once: three batches of one sample.
            validation_data=sharded_batches.IndivisibleFirst(validation, 2)
            if keras.backend.backend() == "jax"
            else devices.whole(validation),
            epochs=2,
            shuffle=False,
            verbose=0,
            callbacks=devices.callbacks(),
        ).history
        return devices, history, before, values(segmenter)


class Images(keras.utils.PyDataset):
    """The same for a distiller, of the floats that a student takes."""

    @property
    def num_batches(self):
        return 4

    def __getitem__(self, index):
        images = IMAGES[index].astype("float32") / 128 - 1
        return ({"domain": {"images": images, "modalities": MODALITIES[index]}},)


def distil(count):
    """The losses of the phase that moves the controllers."""
    rng = np.random.default_rng(2)
    alone = contextlib.nullcontext(kem.training.Devices())
    with kem.training.distribute(count) if count > 1 else alone as devices:
        student = kem.models.TinyViTBackbone(
            hidden_dims=(8, 8, 8),
            depths=(1, 1, 1),
            num_heads=(2, 2),
            window_sizes=(4, 4),
            strides=(2, 2),
            neck_dim=8,
            num_modalities=3,
        )
        image = keras.Input((32, 32, 3))
        teacher = keras.Model(image, keras.layers.Conv2D(4, 16, strides=16)(image))
        distiller = kem.distillation.DecoupledDistiller(student, None, teacher, "controllers")
        for weight in [*distiller.trainable_variables, *teacher.weights]:
            weight.assign(rng.normal(scale=0.2, size=weight.shape).astype("float32"))
        distiller.compile(keras.optimizers.SGD(0.05, momentum=0.9))
        devices.prepare(distiller)
        dataset = devices.share(Images())
        options = dict(epochs=2, shuffle=False, verbose=0, callbacks=devices.callbacks())
        return distiller.fit(dataset, **options).history


class Labelled(Images):
    """The same with masks of two targets, of which half of the images label only the first."""

    def __getitem__(self, index):
        (x,) = super().__getitem__(index)
        masks = np.concatenate([MASKS[index], 1.0 - MASKS[index]], axis=-1).astype("float32")
        masks[1::2, ..., 1] = -1
        patches = np.full((4, 1, 1, 1), -1.0, "float32")
        return x, {"masks": masks, "patches": patches}


def distil_targets(count):
    """The losses of the phase with labels, of targets that are labelled, taught or neither."""
    alone = contextlib.nullcontext(kem.training.Devices())
    targets = {"skin": ("mole", "hair"), "lung": ("lobe", "node")}
    with kem.training.distribute(count) if count > 1 else alone as devices:
        models = []
        for own in (targets, {"lung": ("node",)}):
            rng = np.random.default_rng(len(own))
            image = keras.Input((32, 32, 3))
            encoder = keras.Model(image, keras.layers.Conv2D(8, 16, strides=16)(image))
            backbone = kem.models.ESPMedSAMBackbone(
                encoder,
                modalities=tuple(own),
                transformer_depth=1,
                transformer_num_heads=2,
                transformer_mlp_dim=8,
                targets=own,
            )
            for weight in backbone.trainable_variables:
                weight.assign(rng.normal(scale=0.3, size=weight.shape).astype("float32"))
            models.append(backbone)
        student, teacher = models
        distiller = kem.distillation.DecoupledDistiller(
            student, None, teacher, "joint", kem.distillation.MaskLoss()
        )
        distiller.compile(keras.optimizers.SGD(0.05, momentum=0.9))
        devices.prepare(distiller)
        dataset = devices.share(Labelled())
        options = dict(epochs=2, shuffle=False, verbose=0, callbacks=devices.callbacks())
        return distiller.fit(dataset, **options).history


def values(segmenter):
    return {v.path: keras.ops.convert_to_numpy(v).tolist() for v in segmenter.trainable_variables}


if __name__ == "__main__":
    targets = "targets" in sys.argv[2:]
    devices, history, before, after = train(2, targets)
    result = {"count": devices.count, "history": history, "before": before, "after": after}
    plain = keras.backend.backend() == "torch" and not targets  # It compiles nothing.
    if plain:
        result["distilled"], result["targets"] = distil(2), distil_targets(2)
    if devices.is_main:
        if keras.backend.backend() == "torch":
            _, result["history_alone"], _, result["after_alone"] = train(1, targets)
        if plain:
            result["distilled_alone"] = distil(1)
            result["targets_alone"] = distil_targets(1)
        with open(sys.argv[1], "w", encoding="utf-8") as file:
            json.dump(result, file)
