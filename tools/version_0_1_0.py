"""Write `tests/presets/version_0_1_0`: what version 0.1.0 saved, and what it gave.

It was run once, with the package as it was at commit 8b4bc7b, and is kept to show what the files
are. It refuses to write over them: files saved by today's package would prove nothing.

    mkdir old && git archive 8b4bc7b | tar -x -C old
    PYTHONPATH=old KERAS_BACKEND=torch python tools/version_0_1_0.py
"""

import math
import pathlib
import tempfile
import zipfile

import keras
import numpy as np

import keras_espmedsam as kem

FOLDER = pathlib.Path(__file__).resolve().parents[1] / "tests" / "presets" / "version_0_1_0"
SEED = 8


def randomize(model):
    """Weights away from their tame initial values, so that every part matters."""
    rng = np.random.default_rng(SEED)
    for weight in sorted(model.weights, key=lambda weight: weight.path):
        values = rng.normal(scale=0.3, size=weight.shape)
        if len(weight.shape) > 1:
            # Wide enough that the masks differ from pixel to pixel and modality to modality.
            fan_in = math.prod(weight.shape[:-1])
            values = rng.normal(scale=1.25 / math.sqrt(fan_in), size=weight.shape)
        if weight.path.endswith(("gamma", "variance")):
            values = 1 + np.abs(values)
        weight.assign(values.astype("float32"))
    return model


def make_segmenter(encoder, image_size, **backbone):
    models = kem.models
    return models.ESPMedSAMImageSegmenter(
        models.ESPMedSAMBackbone(
            encoder,
            modalities=("skin", "eye"),
            transformer_depth=1,
            transformer_num_heads=2,
            transformer_mlp_dim=16,
            **backbone,
        ),
        models.ESPMedSAMImageSegmenterPreprocessor(
            models.ESPMedSAMImageConverter(image_size=image_size)
        ),
    )


def tiny_vit_encoder():
    return kem.models.TinyViTBackbone(
        hidden_dims=(8, 8, 8, 8),
        depths=(1, 1, 1, 1),
        num_heads=(1, 1, 1),
        window_sizes=(4, 4, 4),
        neck_dim=8,
        num_modalities=2,
        adapter_ratio=1,
    )


def tiny_vit_segmenter():
    """TinyViT with controllers, a detail branch, and a third modality that was added."""
    segmenter = make_segmenter(tiny_vit_encoder(), (64, 64), detail_dims=(4, 4, 4))
    return randomize(segmenter.add_modality("lung", init_from="eye"))


def tic_segmenter():
    """A TiC encoder with controllers and a neck of two levels, at the image's own size."""
    encoder = kem.models.TiCBackbone(
        hidden_dims=(8, 8, 8, 8),
        depths=(1, 1, 1, 1),
        num_heads=(1, 1, 2, 2),
        kernel_size=3,
        neck_dim=8,
        neck_levels=(2, 3),
        output_stride=16,
        num_modalities=2,
        adapter_ratio=1,
    )
    return randomize(make_segmenter(encoder, None))


def tic_classifier():
    backbone = kem.models.TiCBackbone(
        hidden_dims=(8, 8, 8, 8), depths=(1, 1, 1, 1), num_heads=(1, 1, 2, 2), kernel_size=3
    )
    preprocessor = kem.models.TiCImageClassifierPreprocessor(
        kem.models.TiCImageConverter(image_size=(64, 64), resize_mode="stretch")
    )
    return randomize(
        kem.models.TiCImageClassifier(
            backbone,
            class_names=("skin", "eye", "none"),
            min_confidence=0.4,
            preprocessor=preprocessor,
        )
    )


def compiled_segmenter(image, mask):
    """Compiled by default and trained for two steps."""
    segmenter = randomize(make_segmenter(tiny_vit_encoder(), (64, 96)))
    segmenter.compile()
    x = {"images": image[None], "modalities": ["eye"]}
    for _ in range(2):
        segmenter.train_on_batch(x, mask[None])
    return segmenter


def save(write, name):
    """Pack what is saved: most of an HDF5 file of many small weights is zeros."""
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        write(folder / name)
        with zipfile.ZipFile(FOLDER / f"{name}.zip", "w", zipfile.ZIP_DEFLATED) as packed:
            for path in sorted(folder.rglob("*")):
                if path.is_file():
                    packed.write(path, path.relative_to(folder))


def main():
    if FOLDER.exists():
        raise SystemExit(f"{FOLDER} is there; it is never written anew.")
    FOLDER.mkdir(parents=True)
    keras.utils.set_random_seed(SEED)
    rng = np.random.default_rng(SEED)
    image = np.kron(rng.integers(0, 256, (4, 6, 3)), np.ones((16, 16, 1))).astype("uint8")
    mask = (image[..., 0] > 128).astype("uint8")
    outputs = {"image": image, "mask": mask}

    for name, segmenter in (
        ("segmenter", tiny_vit_segmenter()),
        ("tic_segmenter", tic_segmenter()),
    ):
        save(segmenter.save_to_preset, name)
        for modality in segmenter.modalities:
            outputs[f"{name}/{modality}"] = segmenter.segment(image, modality)["probabilities"]

    classifier = tic_classifier()
    save(classifier.save_to_preset, "classifier")
    outputs["classifier"] = classifier.classify(image)["probabilities"]

    compiled = compiled_segmenter(image, mask)
    save(compiled.save, "compiled.keras")
    for modality in compiled.modalities:
        outputs[f"compiled/{modality}"] = compiled.segment(image, modality)["probabilities"]
    x = {"images": image[None], "modalities": ["eye"]}
    found = compiled.test_on_batch(x, mask[None], return_dict=True)
    for name, value in found.items():
        outputs[f"compiled_evaluated/{name}"] = np.float32(value)
    slots = [keras.ops.convert_to_numpy(v).astype("float64") for v in compiled.optimizer.variables]
    outputs["compiled_optimizer/sizes"] = np.sort([slot.size for slot in slots])
    outputs["compiled_optimizer/squares"] = np.sort([(slot**2).sum() for slot in slots])
    np.savez_compressed(FOLDER / "outputs.npz", **outputs)


if __name__ == "__main__":
    main()
