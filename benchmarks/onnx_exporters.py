"""How to write ONNX: TensorFlow and tf2onnx, as `espmedsam export` does, or Keras' own export.

    pip install onnxscript
    python benchmarks/onnx_exporters.py [--output docs/reports]

Of espmedsam_nano_256, logits of one image at 256 x 256: what is written by Keras from each
backend, its size and time in ONNX Runtime over ours, the largest difference from the Keras model,
and whether another size can be run.
"""

import argparse
import functools
import os
import pathlib
import platform
import subprocess
import sys
import tempfile

from interleaved import medians

BACKENDS = ("torch", "tensorflow", "jax")
REPEATS = 30
DOCUMENT = """\
# ONNX by tf2onnx or by Keras

    python benchmarks/onnx_exporters.py --output docs/reports

Keras' own export (`model.export(format="onnx")`) of the folded espmedsam_nano_256 over what
`espmedsam export` writes through TensorFlow and tf2onnx, run by ONNX Runtime; medians of {repeats},
in turn; {machine}.

| Keras from | operations | bytes | time | difference | other sizes |
|---|---|---|---|---|---|
"""


def write_by_keras(path):
    """In a process of its own, whose backend is in KERAS_BACKEND."""
    import keras

    import keras_espmedsam as kem

    segmenter = kem.models.ESPMedSAMImageSegmenter.from_preset("espmedsam_nano_256").fold()
    signature = {
        "images": keras.InputSpec(dtype="float32", shape=(1, None, None, 3), name="images"),
        "modalities": keras.InputSpec(dtype="int32", shape=(1,), name="modalities"),
    }
    try:
        keras.Model.export(
            segmenter, path, format="onnx", verbose=False, input_signature=[signature]
        )
    except Exception as error:
        print(f"any size: {type(error).__name__}: {str(error)[:200]}", file=sys.stderr)
        signature["images"] = keras.InputSpec(
            dtype="float32", shape=(1, 256, 256, 3), name="images"
        )
        keras.Model.export(
            segmenter, path, format="onnx", verbose=False, input_signature=[signature]
        )


def by_keras(backend, path):
    """The last line of why not, or nothing."""
    environment = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, __file__, "--write", str(path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    lines = done.stderr.strip().splitlines()
    print(backend, *[line for line in lines if line.startswith("any size")], sep="\n")
    return (lines or ["?"])[-1] if done.returncode else ""


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("docs/reports"))
    parser.add_argument("--write", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.write:
        write_by_keras(arguments.write)
        return

    import keras
    import numpy as np
    import onnx

    import keras_espmedsam as kem
    from keras_espmedsam._startup import import_runtime

    onnxruntime = import_runtime("onnxruntime")

    folder = pathlib.Path(tempfile.mkdtemp())
    segmenter = kem.models.ESPMedSAMImageSegmenter.from_preset("espmedsam_nano_256")
    for name, size in (("ours", (256, 256)), ("ours_any", "any")):
        segmenter.export_for("onnx", folder / f"{name}.onnx", flavor="logits", size=size)
    inputs = {
        "images": np.random.default_rng(0).normal(size=(1, 256, 256, 3)).astype("float32"),
        "modalities": np.array([3], "int32"),
    }
    expected = keras.Model.predict_on_batch(segmenter, inputs)["masks"]
    sessions, rows = {}, {}
    for name in ("ours", "ours_any", *BACKENDS):
        path = folder / f"{name}.onnx"
        failure = "" if name.startswith("ours") else by_keras(name, path)
        if failure:
            rows[name] = failure
            continue
        try:
            sessions[name] = onnxruntime.InferenceSession(path)
        except Exception as error:  # Its classes have no common base that is public.
            rows[name] = f"is written, but ONNX Runtime does not load it: {error}"
            continue
        model = onnx.load(path)
        outputs = sessions[name].run(None, _named(sessions[name], inputs))
        found = next(x for x in outputs if x.shape[1] == 256)
        rows[name] = {
            "nodes": len(model.graph.node),
            "bytes": sum(file.stat().st_size for file in folder.glob(f"{name}.onnx*")),
            "difference": float(np.abs(found - expected).max()),
            "sizes": _runs_at(sessions[name], inputs, 192),
        }
    calls = [functools.partial(one.run, None, _named(one, inputs)) for one in sessions.values()]
    seconds = dict(zip(sessions, medians(calls, REPEATS), strict=True))
    machine = f"{platform.machine()}, {os.cpu_count()} CPU cores"
    text = DOCUMENT.format(repeats=REPEATS, machine=machine)
    ours = rows["ours"]
    for name, row in rows.items():
        if isinstance(row, str):
            text += f"| {name} | {row.replace(str(folder), '')} | | | | |\n"
            continue
        ratio = seconds[name] / seconds["ours"]
        title = {"ours": "ours, 256 x 256", "ours_any": "ours, any size"}.get(name, name)
        text += (
            f"| {title} | {row['nodes']} | {row['bytes'] / ours['bytes']:.2f} | {ratio:.2f} | "
            f"{row['difference']:.1e} | {'yes' if row['sizes'] else 'no'} |\n"
        )
    print(text)
    (arguments.output / "onnx_exporters.md").write_text(text, encoding="utf-8")


def _named(session, inputs):
    """The inputs under the names that this file has for them, by their type."""
    return {
        one.name: inputs["images" if "float" in one.type else "modalities"]
        for one in session.get_inputs()
    }


def _runs_at(session, inputs, side):
    smaller = {**inputs, "images": inputs["images"][:, :side, :side]}
    try:
        session.run(None, _named(session, smaller))
    except Exception:
        return False
    return True


if __name__ == "__main__":
    main()
