"""Store what every built-in preset gives for one image, for `tests/presets` to compare with.

    python tools/preset_outputs.py                        # the presets that have no numbers yet
    python tools/preset_outputs.py espmedsam_nano_256     # these anew, after a wanted change
    KERAS_BACKEND=jax python tools/preset_outputs.py --compare

Numbers that are stored are left as they are unless their preset is named: written anew by habit
they would agree with any mistake. `--compare` writes nothing and prints the largest differences.
"""

import argparse
import json
import math
import pathlib
import zlib

import numpy as np

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]
PRESETS = REPOSITORY / "presets"
STORED = REPOSITORY / "tests" / "presets" / "outputs.npz"
# Values kept of each output; their number is odd to every channel count, so that all are seen.
SAMPLES = 601
# Any-size models see an image that is small and not square: JAX compiles and computes it fast.
SMALL = (96, 128)


def preset_names():
    """The folders of `presets/`."""
    return sorted(path.parent.name for path in PRESETS.glob("*/preset.json"))


def make_image(height, width):
    """An RGB image of slow waves, two discs and a bar: `(height, width, 3)` uint8.

    Whole numbers alone are computed with, so that no library or processor rounds it otherwise.
    """
    rng = np.random.default_rng(20261129)
    rows, columns = np.mgrid[:height, :width]
    image = np.zeros((height, width, 3), "int64")
    for channel in range(3):
        for period in (64, 90, 150):
            a, b = rng.integers(-3, 4, 2)
            phase = rng.integers(period)
            image[..., channel] += np.abs((rows * a + columns * b + phase) % period - period // 2)
    image = image * 160 // image.max()
    for row, column, colour in ((3, 3, (230, 190, 120)), (6, 6, (20, 60, 40))):
        distance = (rows - row * height // 9) ** 2 + (columns - column * width // 9) ** 2
        image[distance < (height // 7) ** 2] = colour
    image[height // 2 : height // 2 + 3, width // 8 : width // 2] = (255, 255, 255)
    return image.astype("uint8")


def _fill(model, name):
    """Give a model without weights some that no backend has drawn."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    for weight in _in_order(model):
        values = rng.standard_normal(weight.shape, dtype="float32")
        if len(weight.shape) > 1:
            # A depthwise kernel, (height, width, channels, 1), adds over its places alone.
            added = weight.shape[:-2] if weight.shape[-1] == 1 else weight.shape[:-1]
            values /= np.float32(math.sqrt(math.prod(added)))
        elif weight.path.endswith(("gamma", "variance")):
            values = 1 + np.abs(values) / 10
        else:
            values /= 10
        weight.assign(values)
    return model


def _in_order(model):
    # Not that of `weights`: PyTorch builds the parts of a TiC block in another order.
    return sorted(model.weights, key=lambda weight: weight.path)


def preset_outputs(name):
    """What a preset gives: dict of an output's name to a small array.

    `weights` are the numbers of values of the model's weights, by their paths.
    """
    import keras_espmedsam as kem
    from keras_espmedsam.hub.initial_values import load_undrawn

    entry = json.loads((PRESETS / name / "preset.json").read_text(encoding="utf-8"))
    model_class = getattr(kem.models, entry["classes"][0])
    has_weights = any((PRESETS / name).glob("*.weights.h5"))
    if has_weights:
        model = model_class.from_preset(name)
    else:
        model = load_undrawn(lambda: _fill(model_class.from_preset(name, load_weights=False), name))
    outputs = {"weights": np.array([math.prod(weight.shape) for weight in _in_order(model)])}
    if "ESPMedSAMImageSegmenter" in entry["classes"]:
        found = _of_segmenter(model, has_weights)
    elif "TiCImageClassifier" in entry["classes"]:
        found = _of_classifier(model)
    else:
        found = {"features": _predict(model, _normalised(*SMALL))}
    for output, values in found.items():
        outputs.update(_small(output, np.asarray(values)))
    return outputs


def _of_segmenter(model, has_weights):
    image = make_image(*SMALL)
    placed = _placed(model, image)
    count = len(model.modalities)
    if not has_weights:
        # The published configuration's 1024 x 1024 pixels would take JAX and two cores a minute;
        # weights that are drawn mean as much at any size.
        inputs = {"images": _normalised(*SMALL), "modalities": np.array([count - 1], "int32")}
        return {"placed": placed, **_predict(model.backbone, inputs)}
    # As it is used, with every modality, and what the masks are made from. Both are of one shape,
    # for which JAX compiles the model once.
    segmented = model.segment([image] * count, list(model.modalities), batch_size=count)
    inputs = {
        "images": np.repeat(placed, count, axis=0),
        "modalities": np.arange(count, dtype="int32"),
    }
    return {
        "placed": placed,
        "probabilities": np.stack(_planes(segmented["probabilities"])),
        "areas": np.stack(_planes(segmented["masks"])).sum((1, 2)),
        **_predict(model, inputs),
    }


def _of_classifier(model):
    image = make_image(*SMALL)
    return {
        "placed": _placed(model, image),
        "probabilities": model.classify(image)["probabilities"],
        "features": _predict(model.backbone, _normalised(*SMALL)),
    }


def _placed(model, image):
    import keras

    placed = model.preprocessor({"images": image[None]})
    return keras.ops.convert_to_numpy(placed["images"] if isinstance(placed, dict) else placed)


def _normalised(height, width):
    return (make_image(height, width)[None] / np.float32(127.5) - 1).astype("float32")


def _predict(model, inputs):
    import keras

    # JAX is ten times faster compiled than operation by operation; TensorFlow would take 17 s to
    # make a graph of each TiC.
    if keras.backend.backend() == "jax":
        return keras.Model.predict_on_batch(model, inputs)
    outputs = model(inputs, training=False)
    return keras.tree.map_structure(keras.ops.convert_to_numpy, outputs)


def _planes(maps):
    """The map of each target of each image, `(height, width)`."""
    return [plane for one in maps for plane in np.moveaxis(np.atleast_3d(one), -1, 0)]


def _small(output, values):
    if values.size <= SAMPLES:
        return {output: values}
    exact = values.astype("float64")
    return {
        output: values.ravel()[:: (values.size // SAMPLES) | 1],
        # The values that are not kept are in these.
        f"{output}_mean": exact.mean(),
        f"{output}_rms": np.sqrt((exact**2).mean()),
    }


def stored_outputs():
    """What is stored: dict of a preset's name to what `preset_outputs` gave."""
    found = {}
    if STORED.is_file():
        with np.load(STORED) as file:
            for key in file.files:
                name, output = key.split("/")
                found.setdefault(name, {})[output] = file[key]
    return found


def rename(old, new):
    """Keep the stored numbers of a preset under the new name of its folder."""
    stored = stored_outputs()
    if old in stored:
        stored[new] = stored.pop(old)
        _store(stored)


def _store(stored):
    arrays = {
        f"{name}/{output}": values
        for name in sorted(stored)
        for output, values in stored[name].items()
    }
    np.savez_compressed(STORED, **arrays)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("presets", nargs="*", help="presets whose numbers are written anew")
    parser.add_argument("--compare", action="store_true", help="print differences, write nothing")
    options = parser.parse_args()
    stored = stored_outputs()
    if options.compare:
        for name in options.presets or preset_names():
            print(name, flush=True)
            for output, values in preset_outputs(name).items():
                expected = stored[name][output]
                if values.shape != expected.shape:
                    print(f"    {output}: {values.shape}, stored {expected.shape}")
                    continue
                difference = np.abs(values - expected).max()
                print(f"    {output}: {difference:.1e} of {np.abs(expected).max():.3g}")
        return
    unknown = set(options.presets) - set(preset_names())
    if unknown:
        parser.error(f"no such preset: {', '.join(sorted(unknown))}")
    for name in options.presets or sorted(set(preset_names()) - set(stored)):
        stored[name] = preset_outputs(name)
        print(f"{name}: {', '.join(stored[name])}")
    # A preset that is gone takes its numbers along.
    _store({name: stored[name] for name in preset_names()})
    print(f"{STORED.relative_to(REPOSITORY)}: {STORED.stat().st_size} bytes")


if __name__ == "__main__":
    main()
