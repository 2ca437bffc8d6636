"""What bfloat16 gives and costs: time and Dice of espmedsam_nano_256 against float32.

    ESPMEDSAM_DATA=DATA python benchmarks/precision.py [--images 8]

On each backend and in OpenVINO, each in a process of its own. Time is that of the work `precision`
of benchmarks/speed.py, all systems interleaved. Dice is of the first images of each modality of
val that a seed chooses, `--images` of each. Writes docs/reports/precision.json and
docs/reports/precision.md.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

DOCS = Path(__file__).resolve().parents[1] / "docs" / "reports"
PRECISIONS = ("float32", "bfloat16")
SYSTEMS = {
    "PyTorch": ("nano:torch", "nano_bfloat16:torch"),
    "TensorFlow": ("nano:tensorflow", "nano_bfloat16:tensorflow"),
    "JAX": ("nano:jax", "nano_bfloat16:jax"),
    "OpenVINO": ("exported_nano:openvino", "exported_nano_bfloat16:openvino"),
}


def dice(name, count):
    """In a process of its own: the Dice of each image in either precision."""
    from keras_espmedsam.data import read_index
    from keras_espmedsam.evaluation import evaluate
    from keras_espmedsam.inference.load_models import load_segmenter

    model = "espmedsam_nano_256"
    records = [
        one
        for one in read_index(Path(os.environ["ESPMEDSAM_DATA"]) / "index.csv", ("val",))
        if one.mask
    ]
    rng = np.random.default_rng(0)
    chosen = []
    for modality in sorted({one.modality for one in records}):
        own = [one for one in records if one.modality == modality]
        chosen += [own[i] for i in rng.permutation(len(own))[:count]]
    if name == "OpenVINO":
        path = Path(tempfile.mkdtemp()) / "nano.xml"
        load_segmenter(model).export_for("openvino", path)
        model = path
    found = {}
    for precision in PRECISIONS:
        report = evaluate(
            load_segmenter(model, precision), chosen, per_image=True, metrics=["dice"]
        )
        found[precision] = [one["dice"] for one in report["images"]]
    print(json.dumps(found))


def measured(name, count):
    backend = {"PyTorch": "torch", "JAX": "jax"}.get(name, "tensorflow")
    done = subprocess.run(
        [sys.executable, __file__, "--dice", name, "--images", str(count)],
        env={**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    values = {key: np.array(one) for key, one in json.loads(done.stdout.splitlines()[-1]).items()}
    changes = np.abs(values["bfloat16"] - values["float32"])
    return {
        "images": len(changes),
        "dice": {key: float(one.mean()) for key, one in values.items()},
        "mean_change": float(changes.mean()),
        "largest_change": float(changes.max()),
    }


def flags():
    """Which of the units that bfloat16 wants this processor has."""
    path = Path("/proc/cpuinfo")
    found = path.read_text().split() if path.exists() else []
    return [one for one in ("avx512_bf16", "amx_bf16") if one in found]


def write_table(result):
    rows = []
    for name, (first, second) in SYSTEMS.items():
        if name not in result["dice"]:
            continue
        one, times = result["dice"][name], result.get("times", {})
        both = [times.get(system, {}).get("seconds") for system in (first, second)]
        ratio = "not yet" if None in both else f"{both[1] / both[0]:.2f}"
        rows.append(
            f"| {name} | {ratio} | {one['dice']['float32']:.4f} | "
            f"{one['dice']['bfloat16']:.4f} | {one['mean_change']:.4f} | "
            f"{one['largest_change']:.4f} |"
        )
    images = next(iter(result["dice"].values()))["images"]
    units = ", ".join(result["units"]) or "neither avx512_bf16 nor amx_bf16"
    text = DOCUMENT.format(images=images, machine=result["machine"], units=units)
    (DOCS / "precision.md").write_text(text + "\n".join(rows) + "\n" + NOTES, encoding="utf-8")


DOCUMENT = """\
# float32 or bfloat16

    espmedsam segment eye.png --modality fundus --precision bfloat16
    espmedsam evaluate --data index.csv --preset eye.xml --precision bfloat16

What a model computes in, float32 unless you ask: `--precision` of `segment` and `evaluate`,
`precision=` of `segment_files`, `load_segmenter` and `ExportedSegmenter`. It is another thing than
`--precision` of `export`, which says what the weights of an artefact are stored in.

| what runs it | float32 | bfloat16 |
|---|---|---|
| PyTorch, TensorFlow, JAX | yes | yes: Keras' `mixed_bfloat16`, weights in float32 |
| OpenVINO | yes | yes, where the processor has units for it; refused elsewhere |
| ONNX Runtime, TFLite, SavedModel | yes | refused: their kernels for CPUs have none |

**OpenVINO asks nobody**: on a processor with units for bfloat16 it computes in it unless it is told
otherwise. All that is ours tells it float32. In a program of your own, say
`{{"INFERENCE_PRECISION_HINT": "f32"}}` when you compile the model, or "bf16" if that is what you
want. The JSON file beside an artefact lists under `computes_in` what its runtime can be asked for.

What recognises a modality computes in float32 in any case: its confidence is compared with a limit
that was chosen so. Where two masks differ by more than rounding, a patch's logit was near 0: it
becomes a prompt or none, and takes a part of the mask with it.

## Measured

    ESPMEDSAM_DATA=DATA python benchmarks/precision.py

espmedsam_nano_256. Time: eight images of 256 x 256 in bfloat16 over the same in float32,
interleaved. Dice: of {images} images of val, of all modalities; the change is that of single
images. {machine}; units for bfloat16: {units}.

| runs in | time | Dice, float32 | Dice, bfloat16 | mean change | largest change |
|---|---|---|---|---|---|
"""

NOTES = """
bfloat16 is faster only where the processor has units for it and the backend makes use of them:
measure before you choose it.
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=int, default=8, help="of each modality")
    parser.add_argument("--dice", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.dice:
        dice(arguments.dice, arguments.images)
        return
    from speed import WORKS, measure

    path = DOCS / "precision.json"
    result = json.loads(path.read_text()) if path.exists() else {"dice": {}}
    result |= {"machine": f"{platform.machine()}, {os.cpu_count()} CPU cores", "units": flags()}
    for name in SYSTEMS:
        result["dice"][name] = measured(name, arguments.images)
        _write(path, result)
    result["times"] = measure(WORKS["precision"])
    _write(path, result)


def _write(path, result):
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    write_table(result)


if __name__ == "__main__":
    main()
