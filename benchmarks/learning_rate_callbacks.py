"""Whether every way of setting the learning rate reaches every modality's optimiser.

    python benchmarks/learning_rate_callbacks.py --output docs/reports

Each way trains a model whose gradients are known, step by step, on each backend that is
installed, so that the change of a weight over its gradient is the rate that was used: of the
shared weights, of those with a multiplier, and of each modality.
"""

import argparse
import importlib.util
import json
import os
import pathlib
import platform
import subprocess
import sys
import tempfile
import time

BACKENDS = {"torch": "torch", "tensorflow": "tensorflow", "jax": "jax"}
# Powers of two, of which float32 holds sums and products as they are.
FIRST, SET = 0.5, 0.125
# The gradient of each weight and its multiplier, by the end of its path; what no image shows has
# no gradient.
GRADIENTS = {"shared": (1.0, 1.0), "early": (1.0, 0.5), "own_0": (0.5, 1.0), "own_1": (0.5, 1.0)}
ABSENT = "own_2"
DOCUMENT = """\
# Setting the learning rate

    python benchmarks/learning_rate_callbacks.py --output docs/reports

`DecoupledOptimizer` has one learning rate, and an optimiser for each modality that takes it in
every step. Each row is a way of setting it, with SGD, a multiplier of 0.5 for one layer, and three
modalities of which one is absent. A figure is the largest difference, of any weight in any step,
between the rate that the weight moved by (its change over its gradient) and the right one, over
the right one. 0: all modalities and the layer with the multiplier used it, and what is absent
stayed where it was. A rate that does nothing would give 3.

Where a schedule is given, nothing else can set the rate: a `TypeError` says so, as with any
optimiser of Keras. What Keras' callbacks read, and log as `learning_rate`, is the rate itself,
without multipliers.

{machine}.
"""


def _layer_class():
    import keras

    import keras_espmedsam as kem
    from keras_espmedsam.layers.modality_variables import select_modality

    @keras.saving.register_keras_serializable(package="learning_rate_callbacks")
    class Sum(keras.layers.Layer):
        """`x` times the sum of two shared weights and the modality's own."""

        def build(self, x_shape):
            self.shared = self.add_weight(shape=(1,), initializer="ones", name="shared")
            self.early = self.add_weight(shape=(1,), initializer="ones", name="early")
            self.own = [
                kem.layers.ModalityVariables(
                    {"weight": (1,)}, {"weight": "ones"}, modality=k, name=f"own_{k}"
                )
                for k in range(3)
            ]
            for one in self.own:
                one.build()
            self.built = True

        def call(self, x, modalities):
            own = select_modality([one["weight"].value for one in self.own], modalities[:, 0])
            return x * (self.shared + self.early + own)

        def compute_output_shape(self, x_shape):
            return x_shape

    return Sum


def build(optimizer, rate=FIRST, scaled=False):
    """A compiled model; `optimizer` makes the optimiser of a rate."""
    import keras

    import keras_espmedsam as kem

    found = keras.saving.get_registered_object("learning_rate_callbacks>Sum")
    layer = (found or _layer_class())(name="sum")
    x, modalities = keras.Input((1,)), keras.Input((1,), dtype="int32")
    model = keras.Model([x, modalities], layer(x, modalities))
    stepping = kem.optimizers.DecoupledOptimizer(optimizer(rate), {"sum/early": 0.5})
    if scaled:
        stepping = keras.optimizers.LossScaleOptimizer(stepping, initial_scale=8.0)
    model.compile(optimizer=stepping, loss="mean_absolute_error")
    return model


def train(model, epochs=1, steps=1, callbacks=(), initial_epoch=0):
    """Train, and give the rate of each weight in each step: dict of name to list."""
    import keras
    import numpy as np

    class Record(keras.callbacks.Callback):
        def __init__(self):
            super().__init__()
            self.rates = {name: [] for name in (*GRADIENTS, ABSENT)}

        def weights(self):
            return {
                name: float(keras.ops.convert_to_numpy(variable)[0])
                for name in self.rates
                for variable in self.model.trainable_variables
                if f"/{name}" in variable.path
            }

        def on_train_batch_begin(self, batch, logs=None):
            self.before = self.weights()

        def on_train_batch_end(self, batch, logs=None):
            for name, now in self.weights().items():
                gradient, _ = GRADIENTS.get(name, (1.0, 1.0))
                self.rates[name].append((self.before[name] - now) / gradient)

    record = Record()
    x = [np.ones((4 * steps, 1), "float32"), np.tile([[0], [0], [1], [1]], (steps, 1))]
    model.fit(
        x,
        # So far below what the model gives that the gradient is always that of its mean.
        np.full((4 * steps, 1), -100, "float32"),
        batch_size=4,
        shuffle=False,
        epochs=epochs,
        initial_epoch=initial_epoch,
        callbacks=[*callbacks, record],
        verbose=0,
    )
    return record.rates


# === The ways: each gives the rates of its steps, and those that are right ===


def _set_and_train(model, put, callbacks=()):
    """A step at the first rate, then `put(optimizer)`, then another."""
    first = train(model, callbacks=callbacks)
    put(model.optimizer)
    second = train(model, callbacks=callbacks)
    return {name: first[name] + second[name] for name in first}, [FIRST, SET]


def _by_attribute(optimizer):
    optimizer.learning_rate = SET


def _by_variable(optimizer):
    optimizer.learning_rate.assign(SET)


def _of_given(optimizer):
    optimizer.optimizer.learning_rate = SET


def _of_given_variable(optimizer):
    optimizer.optimizer.learning_rate.assign(SET)


def _schedule():
    import keras

    return keras.optimizers.schedules.PiecewiseConstantDecay([0], [FIRST, SET])


def _kept_reference():
    """The optimiser that the user made, and wrapped, is still what the user sets."""
    kept = []
    model = build(lambda rate: kept.append(_sgd()(rate)) or kept[0])
    return _set_and_train(model, lambda _: setattr(kept[0], "learning_rate", SET))


def _schedule_set_later():
    model = build(_sgd())
    model.optimizer.learning_rate = _schedule()
    return train(model, steps=2), [FIRST, SET]


def _schedule_of_given_set_later():
    model = build(_sgd())
    model.optimizer.optimizer.learning_rate = _schedule()
    return train(model, steps=2), [FIRST, SET]


def _warm_up():
    """As `espmedsam train` makes it: from a twentieth of the rate, in two steps of four."""
    from keras_espmedsam.training.config.phase_settings import LearningRateSettings
    from keras_espmedsam.training.make_optimizer import make_learning_rate

    settings = LearningRateSettings(
        rate=FIRST, schedule="cosine", warmup_steps=2, final_rate=0.25 * FIRST
    )
    model = build(_sgd(), make_learning_rate(settings, epochs=1, steps=4))
    # The cosine's second half goes from the rate to its quarter, in the middle at 0.625 of it.
    return train(model, steps=4), [0.05 * FIRST, 0.525 * FIRST, FIRST, 0.625 * FIRST]


def _scheduler(factor=None):
    import keras

    return keras.callbacks.LearningRateScheduler(
        lambda epoch, rate: SET if factor is None else (rate * factor if epoch else rate)
    )


def _plateau():
    import keras

    # Of the first epoch the loss is the best; from then on each epoch lowers the rate.
    return keras.callbacks.ReduceLROnPlateau(
        "loss", mode="min", min_delta=100, patience=1, factor=SET / FIRST
    )


def _in_an_epoch():
    import keras

    class SetRate(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            self.model.optimizer.learning_rate = (FIRST, SET)[batch]

    return SetRate()


def _loaded():
    """The rate that was set is in the file, and can be set again."""
    import keras

    model = build(_sgd())
    model.optimizer.learning_rate = 2 * FIRST
    train(model)
    model.optimizer.learning_rate = FIRST
    path = tempfile.mkdtemp() + "/model.keras"
    model.save(path)
    return _set_and_train(keras.saving.load_model(path), _by_attribute)


def _compiled_from_config():
    model = build(_sgd())
    twin = build(_sgd(), 2 * FIRST)
    twin.compile_from_config(model.get_compile_config())
    return _set_and_train(twin, _by_attribute)


def _sgd(**options):
    import keras

    return lambda rate: keras.optimizers.SGD(rate, **options)


WAYS = {
    "`optimizer.learning_rate = x`": lambda: _set_and_train(build(_sgd()), _by_attribute),
    "`optimizer.learning_rate.assign(x)`": lambda: _set_and_train(build(_sgd()), _by_variable),
    "`optimizer.optimizer.learning_rate = x`": lambda: _set_and_train(build(_sgd()), _of_given),
    "`optimizer.optimizer.learning_rate.assign(x)`": lambda: _set_and_train(
        build(_sgd()), _of_given_variable
    ),
    "`learning_rate = x` of the optimiser that was wrapped": _kept_reference,
    "a schedule": lambda: (train(build(_sgd(), _schedule()), steps=2), [FIRST, SET]),
    "a schedule in place of a number, before training": _schedule_set_later,
    "the same, given to the wrapped optimiser": _schedule_of_given_set_later,
    "warm-up and cosine of `espmedsam train`": _warm_up,
    "`LearningRateScheduler`, a rate": lambda: (
        train(build(_sgd()), callbacks=[_scheduler()]),
        [SET],
    ),
    "`LearningRateScheduler`, a factor": lambda: (
        train(build(_sgd()), epochs=3, callbacks=[_scheduler(0.5)]),
        [FIRST, FIRST / 2, FIRST / 4],
    ),
    "`ReduceLROnPlateau`": lambda: (
        train(build(_sgd()), epochs=3, callbacks=[_plateau()]),
        [FIRST, FIRST, SET],
    ),
    "a callback that sets it within an epoch": lambda: (
        train(build(_sgd()), steps=2, callbacks=[_in_an_epoch()]),
        [FIRST, SET],
    ),
    "`LossScaleOptimizer`: `learning_rate = x`": lambda: _set_and_train(
        build(_sgd(), scaled=True), _by_attribute
    ),
    "`LossScaleOptimizer`: `LearningRateScheduler`": lambda: (
        train(build(_sgd(), scaled=True), epochs=2, callbacks=[_scheduler(0.25)]),
        [FIRST, FIRST / 4],
    ),
    "`LossScaleOptimizer`: `ReduceLROnPlateau`": lambda: (
        train(build(_sgd(), scaled=True), epochs=3, callbacks=[_plateau()]),
        [FIRST, FIRST, SET],
    ),
    "`use_ema`: `LearningRateScheduler`": lambda: (
        train(build(_sgd(use_ema=True, ema_momentum=0.5)), epochs=2, callbacks=[_scheduler(0.25)]),
        [FIRST, FIRST / 4],
    ),
    "loaded from a `.keras` file": _loaded,
    "`compile_from_config`": _compiled_from_config,
}
# What a schedule stands in the way of, as with any optimiser of Keras.
REFUSED = {
    "`LearningRateScheduler` on a schedule": lambda: train(
        build(_sgd(), _schedule()), callbacks=[_scheduler()]
    ),
    "`ReduceLROnPlateau` on a schedule": lambda: train(
        build(_sgd(), _schedule()), epochs=3, callbacks=[_plateau()]
    ),
    "`learning_rate = x` on a schedule": lambda: _set_and_train(
        build(_sgd(), _schedule()), _by_attribute
    ),
}


def measure(name):
    """The rates that are right, and by weight those that were used: of each step a number."""
    rates, expected = WAYS[name]()
    right = {weight: [m * rate for rate in expected] for weight, (_, m) in GRADIENTS.items()}
    return {**right, ABSENT: [0.0] * len(expected)}, rates


def largest_difference(name):
    """Between a rate that was used and the right one, over the right one; in all weights."""
    right, used = measure(name)
    found = 0.0
    for weight, rates in right.items():
        for wanted, rate in zip(rates, used[weight], strict=True):
            found = max(found, abs(rate - wanted) / (wanted or 1.0))
    return found


def report_backend():
    """All ways on this backend, as JSON on the last line."""
    start = time.perf_counter()
    found = {name: largest_difference(name) for name in WAYS}
    for name, way in REFUSED.items():
        try:
            way()
            found[name] = "trained"
        except TypeError as error:
            found[name] = "refused" if "not settable" in str(error) else str(error)
    print(json.dumps({"ways": found, "seconds": round(time.perf_counter() - start)}))


def write_report(path, results):
    """The table of all backends."""
    seconds = ", ".join(f"{name} {one['seconds']} s" for name, one in results.items())
    machine = f"{platform.machine()}, {os.cpu_count()} CPU cores; {seconds}"
    lines = [
        DOCUMENT.format(machine=machine),
        "| way | " + " | ".join(results) + " |",
        "|---|" + "---|" * len(results),
    ]
    for name in (*WAYS, *REFUSED):
        found = [one["ways"][name] for one in results.values()]
        cells = [one if isinstance(one, str) else f"{one:.1g}" for one in found]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def main():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--output", type=pathlib.Path, help="folder for learning_rates.md")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.here:
        report_backend()
        return
    results = {}
    for backend, module in BACKENDS.items():
        if importlib.util.find_spec(module) is None:
            continue
        environment = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
        command = [sys.executable, __file__, "--here"]
        done = subprocess.run(
            command, env=environment, stdout=subprocess.PIPE, text=True, check=True
        )
        results[backend] = json.loads(done.stdout.splitlines()[-1])
        print(backend, results[backend], flush=True)
    if arguments.output:
        write_report(arguments.output / "learning_rates.md", results)


if __name__ == "__main__":
    main()
