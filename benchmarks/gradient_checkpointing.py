"""Memory and time of a training step with and without gradient checkpointing.

    python benchmarks/gradient_checkpointing.py --output docs/reports

Each case runs in a process of its own, on each backend that is installed. Memory is the highest
resident size during training steps above that during inference; on JAX, where compiling takes
memory as well, it is what the compiled step allocates (`memory_analysis`), and what is handed from
the forward to the backward pass besides.
"""

import argparse
import importlib.util
import json
import os
import pathlib
import resource
import subprocess
import sys
import time

BACKENDS = {"torch": "torch", "tensorflow": "tensorflow", "jax": "jax"}
KINDS = ("vit_med", "tiny_vit")
SIDE, BATCH, STEPS = 224, 8, 3


def build(kind, checkpointed):
    import keras

    import keras_espmedsam as kem

    keras.utils.set_random_seed(0)
    if kind == "tiny_vit":
        encoder = kem.models.TinyViTBackbone(
            hidden_dims=(32, 64, 96, 128),
            depths=(2, 2, 4, 2),
            num_heads=(2, 3, 4),
            num_modalities=2,
        )
    else:
        encoder = kem.models.ViTMedBackbone(
            hidden_dim=192,
            depth=8,
            num_heads=3,
            window_size=7,
            global_indices=(3, 7),
            neck_dim=128,
            image_shape=(SIDE, SIDE, 3),
        )
    if checkpointed:
        kem.training.checkpoint_gradients(encoder)
    model = keras.Model(encoder.input, keras.layers.GlobalAveragePooling2D()(encoder.output))
    model.compile(keras.optimizers.SGD(1e-3), "mse")
    return model


def measure(kind, checkpointed):
    """One case, in this process; gives a dict of figures."""
    import keras
    import numpy as np

    model = build(kind, checkpointed)
    images = np.random.default_rng(0).normal(size=(BATCH, SIDE, SIDE, 3)).astype("float32")
    x = images
    if kind == "tiny_vit":
        x = {"images": images, "modalities": np.arange(BATCH, dtype="int32") % 2}
    y = np.zeros((BATCH, model.output.shape[-1]), "float32")
    model.predict_on_batch(x)
    inference = _peak()
    model.train_on_batch(x, y)
    figures = {"MB above inference": round(_peak() - inference)}
    start = time.process_time()
    for _ in range(STEPS):
        model.train_on_batch(x, y)
    figures["CPU seconds per step"] = round((time.process_time() - start) / STEPS, 2)
    if keras.backend.backend() == "jax":
        figures["MB above inference"] = None
        figures.update(_compiled(model, x))
    return figures


def _peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def _compiled(model, x):
    import jax

    trained = [v.value for v in model.trainable_variables]
    other = [v.value for v in model.non_trainable_variables]

    def loss(trained):
        return model.stateless_call(trained, other, x, training=True)[0].sum()

    handed = jax.tree_util.tree_leaves(jax.eval_shape(lambda t: jax.vjp(loss, t)[1], trained))
    compiled = jax.jit(jax.grad(loss)).lower(trained).compile()
    return {
        "MB allocated by the step": round(compiled.memory_analysis().temp_size_in_bytes / 1e6),
        "MB handed to the backward pass": round(
            sum(leaf.size * leaf.dtype.itemsize for leaf in handed) / 1e6
        ),
    }


def run(backend, kind, checkpointed):
    """One case in a process of its own."""
    command = [sys.executable, __file__, "--case", kind, str(int(checkpointed))]
    environment = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def write_report(output, rows):
    """`gradient_checkpointing.md` and `.json`."""
    (output / "gradient_checkpointing.json").write_text(json.dumps(rows, indent=2) + "\n")
    columns = list(dict.fromkeys(key for row in rows for key in row))
    lines = [
        "# Gradient checkpointing",
        "",
        "`benchmarks/gradient_checkpointing.py`: a training step of an encoder on a CPU, "
        f"{BATCH} images of",
        f"{SIDE} x {SIDE}, with what is within the blocks kept for the backward pass or computed",
        "again. On JAX what is handed to the backward pass shrinks as elsewhere; what the step",
        "allocates is up to XLA, which on a CPU may compute again early and gain nothing.",
        "",
        "| " + " | ".join(columns) + " |",
        "|" + "---|" * len(columns),
        *("| " + " | ".join(_cell(row.get(column)) for column in columns) + " |" for row in rows),
    ]
    (output / "gradient_checkpointing.md").write_text("\n".join(lines) + "\n")


def _cell(value):
    return "" if value is None else str(value)


def main():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--output", type=pathlib.Path, help="folder for the .md and .json")
    parser.add_argument("--case", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.case:
        kind, checkpointed = arguments.case
        print(json.dumps(measure(kind, checkpointed == "1")))
        return
    rows = []
    for backend, module in BACKENDS.items():
        if importlib.util.find_spec(module) is None:
            continue
        for kind in KINDS:
            for checkpointed in (False, True):
                figures = run(backend, kind, checkpointed)
                case = {"backend": backend, "encoder": kind, "checkpointed": checkpointed}
                rows.append({**case, **figures})
                print(rows[-1], flush=True)
    if arguments.output:
        write_report(arguments.output, rows)


if __name__ == "__main__":
    main()
