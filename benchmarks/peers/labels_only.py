"""Our own networks, trained on labels by `espmedsam train`.

`PretrainedLite` is examples/configs/pretrained.yaml for one target of each modality.
`RandomTinyViT` is the network of espmedsam_nano_256, with random weights at the beginning. The
schedule needs its number of steps before it begins: `prepare` times two short runs, and takes as
many steps as fit into the budget.
"""

import json
import os
import shutil
import subprocess
import sys
import threading

from cpu_budget import CpuBudget, cpu_seconds, read_json, write_json
from peer import Peer
from peer_data import CONFIG, MODALITIES, ROOT, TARGETS

from keras_espmedsam.errors import InputError

TIMING = "timing.json"
CLOCK = "cpu.json"
# Of the two short runs: the configuration's steps times this. Their difference is what steps cost.
SHARES = (0.004, 0.016)
# What a training may differ from its timing.
MARGIN = 0.97
# Of the averages of the weights, in the second phase: it is shorter than the configuration's.
AVERAGE = 0.99
# Epochs of each phase, and so how often val is measured: as its CPU time counts, seldom.
EPOCHS = (1, 2)


class _EspMedSam(Peer):
    licence = "Apache 2.0"

    def own_changes(self):
        """Return what this network changes in the configuration."""
        return {}

    def prepare(self, data, folder):
        """Time two short runs, once; the budget then decides the number of steps."""
        if (folder / TIMING).exists():
            return
        points = []
        for share in SHARES:
            output = folder / "timing"
            shutil.rmtree(output, ignore_errors=True)
            before = cpu_seconds()
            _train(self._changes(data, output, share, 0))
            points.append([share, cpu_seconds() - before])
        shutil.rmtree(output)
        write_json(folder / TIMING, points)

    def train(self, data, seconds, seed, folder):
        share = share_within(seconds, read_json(folder / TIMING))
        before = read_json(folder / CLOCK) or 0.0
        budget = CpuBudget(seconds, before, clock=lambda: cpu_seconds() + _of_children())
        with _Clock(budget, folder / CLOCK):
            steps = self._train_share(data, share, seed, folder)
        write_json(folder / CLOCK, budget.used)
        return {"cpu_seconds": round(budget.used, 1), "steps": steps}

    def _train_share(self, data, share, seed, folder):
        """Train for a share of the configuration's steps, and return how many that were."""
        _train(self._changes(data, folder / "run", share, seed))
        return _steps(data, share)

    def _changes(self, data, output, share, seed):
        phases = {
            f"phases.{i}.{key}": value
            for i, phase in enumerate(_phases(data, share))
            for key, value in phase.items()
        }
        common = {
            "output": str(output),
            "seed": seed,
            "phases.1.optimizer.ema_momentum": AVERAGE,
        }
        return {**data.changes(), **common, **self.own_changes(), **phases}

    def load(self, data, folder):
        import keras_espmedsam as kem

        preset = str(folder / "run" / "preset")
        self._segmenter = kem.models.ESPMedSAMImageSegmenter.from_preset(preset)

    def predict(self, images, modality):
        found = self._segmenter.segment(images, [modality] * len(images), batch_size=8)
        return [one[..., 0] if one.ndim == 3 else one for one in found["probabilities"]]

    def parameters(self):
        return self._segmenter.count_params()


def share_within(seconds, points, margin=MARGIN):
    """Return the share of the configuration's steps that fits into a number of CPU seconds.

    Args:
        seconds: float.
        points: two pairs of a share and the seconds that it took.
        margin: float. The part of the seconds that is planned.

    Raises:
        InputError: if the budget is less than what a training without steps takes.
    """
    (short, fast), (longer, slow) = points
    each = (slow - fast) / (longer - short)
    fixed = fast - short * each
    share = (margin * seconds - fixed) / each
    if each <= 0 or share <= 0:
        raise InputError(
            f"Received a budget of {seconds:g} CPU seconds; a training takes {fixed:.0f} before "
            "its first step and for validation, so give more."
        )
    return share


def _phases(data, share):
    """Return epochs, steps and warm-up of each phase, for a share of the configuration's steps."""
    found = []
    for phase, epochs in zip(data.config.phases, EPOCHS, strict=True):
        steps = max(1, round(phase.epochs * phase.steps * share / epochs))
        warmup = min(round(phase.learning_rate.warmup_steps * share), steps - 1)
        found.append(
            {"epochs": epochs, "steps": steps, "learning_rate.warmup_steps": max(warmup, 0)}
        )
    return found


def _steps(data, share):
    return sum(phase["steps"] * phase["epochs"] for phase in _phases(data, share))


def _train(changes):
    """Run `espmedsam train`, to its end or an error."""
    argv = [sys.executable, "-m", "keras_espmedsam.cli.main", "train", str(CONFIG)]
    for key, value in changes.items():
        argv += ["--set", f"{key}={json.dumps(value)}"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    status = subprocess.run(argv, env=environment).returncode
    if status:
        raise SystemExit(f"espmedsam train ended with status {status}.")


def _of_children():
    """Return the CPU seconds of the child processes that are running."""
    ticks = os.sysconf("SC_CLK_TCK")
    used = 0.0
    for name in os.listdir("/proc"):
        try:
            with open(f"/proc/{int(name)}/stat", encoding="utf-8", errors="replace") as file:
                fields = file.read().rpartition(")")[2].split()
        except (OSError, ValueError):  # No process, or one that has just ended.
            continue
        if int(fields[1]) == os.getpid():
            used += (int(fields[11]) + int(fields[12])) / ticks
    return used


class _Clock:
    """Writes the CPU seconds that are used every few seconds, for a process that is killed."""

    def __init__(self, budget, path, every=10.0):
        self._arguments = budget, path, every
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self):
        budget, path, every = self._arguments
        while not self._end.wait(every):
            write_json(path, budget.used)

    def __enter__(self):
        self._thread.start()

    def __exit__(self, *_):
        self._end.set()
        self._thread.join()


class PretrainedLite(_EspMedSam):
    title = "ours, Lite0 from ImageNet"
    changed = "examples/configs/pretrained.yaml, one target of each modality, fewer steps"
    licence = "Apache 2.0; weights Apache 2.0, from ImageNet"


class RandomTinyViT(_EspMedSam):
    title = "ours, TinyViT, random start"
    changed = (
        "the network of examples/configs/nano_256/labels.yaml, trained by pretrained.yaml, with "
        "BatchNorm trained throughout and one rate for all layers"
    )

    def own_changes(self):
        from keras_espmedsam.training.config.yaml_text import read_yaml

        path = ROOT / "examples" / "configs" / "nano_256" / "labels.yaml"
        plain = {
            f"phases.{i}.{key}": value
            for i in range(len(EPOCHS))
            for key, value in (("batch_norm", "train"), ("optimizer.layer_decay", None))
        }
        return {"model": read_yaml(path, f"The file {path}")["model"], **plain}


class Specialists(PretrainedLite):
    """A network for each modality: all of them together take as many steps as the one for all."""

    title = "ours, Lite0 from ImageNet, one for each modality"
    changed = (
        "six trainings, which share the steps of the one for all modalities as their images do; "
        "what each takes before its first step and for validation is on top"
    )

    def _train_share(self, data, share, seed, folder):
        steps = 0
        for modality, part in shares_of_modalities(data.config.data.weights or {}).items():
            steps += _steps(data, share * part)
            output = folder / modality / "run"
            if not (output / "preset").exists():
                changes = self._changes(data, output, share * part, seed)
                _train({**changes, **_of_modality(data, modality)})
        return steps

    def load(self, data, folder):
        self._networks = {}
        for modality in MODALITIES:
            super().load(data, folder / modality)
            self._networks[modality] = self._segmenter

    def predict(self, images, modality):
        self._segmenter = self._networks[modality]
        return super().predict(images, modality)

    def parameters(self):
        return sum(network.count_params() for network in self._networks.values())


def shares_of_modalities(weights):
    """Return dict of modality to the share of its images in the training of all of them.

    Args:
        weights: dict of the name of a modality to how often it is drawn; 1 for others.
    """
    drawn = {modality: weights.get(modality, 1.0) for modality in MODALITIES}
    return {modality: one / sum(drawn.values()) for modality, one in drawn.items()}


def _of_modality(data, modality):
    """Return the changes of the configuration that leave one modality."""
    records = [one for one in data.training_records() if one.modality == modality]
    datasets = sorted({one.dataset for one in records})
    (source,) = data.changes()["data.sources"]
    weights = {name: value for name, value in data.config.data.weights.items() if name in datasets}
    return {
        "data.sources": [
            {**source, "datasets": datasets, "targets": {modality: [TARGETS[modality]]}}
        ],
        "data.weights": weights or None,
        "augmentation": {modality: data.config.augmentation[modality]},
    }
