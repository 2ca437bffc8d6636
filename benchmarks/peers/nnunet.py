"""nnU-Net v2, 2D, by its own plans: one network for each modality.

    pip install torch==2.13.0
    pip install nnunetv2 keras pydantic pyyaml

nnU-Net is Apache 2.0. Fingerprint, plans, preprocessing, augmentation, network, loss and optimizer
are its own. It plans for a GPU and 250,000 steps; here a modality has a sixth of the budget, so it
plans for 1 GB in place of 8, which lowers the size of its batches. Its rate falls with the budget
that is used, in place of epochs; it trains on the split of the index and does not validate.
"""

import contextlib
import json
import multiprocessing
import multiprocessing.pool
import os
import types
from unittest import mock

import numpy as np
from budgeted_training import train_within
from cpu_budget import cpu_seconds, write_json
from peer import Peer
from peer_data import MODALITIES, TARGETS
from PIL import Image

PLANS = "nnUNetPlans"
MEMORY_GB = 1
FIRST_NUMBER = 501
WEIGHTS = "weights.pt"
READY = "ready.json"


class NnUNet(Peer):
    title = "nnU-Net v2, 2D, one for each modality"
    changed = (
        "its own 2D plans for 1 GB in place of 8; polynomial rate from 0.01 over the time in place "
        "of 1000 epochs; no validation; no mirroring at inference"
    )
    augmentation = "its own"
    licence = "Apache 2.0"
    backend = "torch"
    modules = ("nnunetv2", "keras", "pydantic", "yaml")
    install = "nnunetv2 keras pydantic pyyaml"

    def prepare(self, data, folder):
        with _settings(folder, augmenters=1):
            for modality in MODALITIES:
                if not (folder / "raw" / _name(modality) / READY).exists():
                    _prepare(data, folder, modality)

    def train(self, data, seconds, seed, folder):
        import torch

        torch.manual_seed(seed)
        found = {"cpu_seconds": 0.0, "steps": 0}
        with _settings(folder):
            for number, modality in enumerate(MODALITIES):
                # The first one pays for the start of the process.
                start = cpu_seconds() if number else 0.0
                one = train_within(
                    seconds / len(MODALITIES),
                    folder / "trained" / modality,
                    _Training(_trainer(folder, modality), seed),
                    lambda step, share: None,
                    start=start,
                )
                found = {key: found[key] + one[key] for key in found}
        return {**found, "cpu_seconds": round(found["cpu_seconds"], 1)}

    def load(self, data, folder):
        self._folder = folder
        with _settings(folder):
            self._predictors = {name: _predictor(folder, name) for name in MODALITIES}

    def predict(self, images, modality):
        predictor = self._predictors[modality]
        found = []
        for image in images:
            array = np.ascontiguousarray(image.transpose(2, 0, 1)[:, None], dtype="float32")
            _, probabilities = predictor.predict_single_npy_array(
                array, {"spacing": (999, 1, 1)}, save_or_return_probabilities=True
            )
            found.append(np.asarray(probabilities[1, 0], "float32"))
        return found

    def parameters(self):
        networks = (one.network for one in self._predictors.values())
        return sum(weight.numel() for network in networks for weight in network.parameters())


def _name(modality):
    return f"Dataset{FIRST_NUMBER + MODALITIES.index(modality)}_{modality}"


@contextlib.contextmanager
def _settings(folder, augmenters=0):
    """Tell nnU-Net its folders, and to use no further processes.

    Each of its pools would start a process that imports PyTorch again; a thread does the same.

    Args:
        folder: path.
        augmenters: int. Processes that augment. Planning takes as many threads, so at least 1.
    """
    own = {
        **{f"nnUNet_{name}": str(folder / name) for name in ("raw", "preprocessed", "results")},
        "nnUNet_n_proc_DA": str(augmenters),
        "nnUNet_def_n_proc": "1",
        "nnUNet_compile": "f",
    }
    before = {name: os.environ.get(name) for name in own}
    os.environ.update(own)
    threads = types.SimpleNamespace(Pool=multiprocessing.pool.ThreadPool)
    try:
        with mock.patch.object(multiprocessing, "get_context", lambda _: threads):
            yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _prepare(data, folder, modality):
    """Write a modality's images as nnU-Net reads them, and let it plan and preprocess."""
    from nnunetv2.experiment_planning import plan_and_preprocess_api as api

    raw = folder / "raw" / _name(modality)
    identifiers = {
        split: _write_images(raw, split, [r for r in data.records(split) if r.modality == modality])
        for split in ("train", "val")
    }
    write_json(
        raw / "dataset.json",
        {
            "channel_names": {"0": "R", "1": "G", "2": "B"},
            "labels": {"background": 0, TARGETS[modality]: 1},
            "numTraining": sum(map(len, identifiers.values())),
            "file_ending": ".png",
        },
    )
    number = FIRST_NUMBER + MODALITIES.index(modality)
    api.extract_fingerprint_dataset(number, num_processes=1, show_progress_bar=False)
    api.plan_experiment_dataset(number, gpu_memory_target_in_gb=MEMORY_GB)
    write_json(folder / "preprocessed" / _name(modality) / "splits_final.json", [identifiers])
    api.preprocess_dataset(number, PLANS, ("2d",), [1], show_progress_bar=False)
    write_json(raw / READY, {split: len(names) for split, names in identifiers.items()})


def _write_images(raw, split, records):
    from keras_espmedsam.data import read_samples

    names = []
    for name in ("imagesTr", "labelsTr"):
        (raw / name).mkdir(parents=True, exist_ok=True)
    for number, record in enumerate(records):
        image, mask = next(read_samples(record))
        name = f"{split}{number:05d}"
        options = {"compress_level": 1}
        Image.fromarray(image.array).save(raw / "imagesTr" / f"{name}_0000.png", **options)
        Image.fromarray(mask.astype("uint8")).save(raw / "labelsTr" / f"{name}.png", **options)
        names.append(name)
    return names


def _trainer(folder, modality):
    """Return an initialised trainer of nnU-Net, for the plans of a modality."""
    import torch
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    prepared = folder / "preprocessed" / _name(modality)
    plans = json.loads((prepared / f"{PLANS}.json").read_text(encoding="utf-8"))
    dataset = json.loads((prepared / "dataset.json").read_text(encoding="utf-8"))
    trainer = nnUNetTrainer(
        {**plans, "continue_training": False}, "2d", 0, dataset, device=torch.device("cpu")
    )
    trainer.initialize()
    return trainer


class _Training:
    """The steps of a training, for `train_within`."""

    suffix = ".pt"

    def __init__(self, trainer, seed):
        self.trainer = trainer
        self.seed = seed
        self.batches = None

    def step(self, _, share):
        if self.batches is None:
            np.random.seed(self.seed)
            self.batches, _ = self.trainer.get_dataloaders()
        self.trainer.network.train()
        rate = self.trainer.initial_lr * (1 - share) ** 0.9  # As its own schedule of epochs.
        for group in self.trainer.optimizer.param_groups:
            group["lr"] = rate
        return float(self.trainer.train_step(next(self.batches))["loss"])

    def save(self, path):
        import torch

        parts = (self.trainer.network, self.trainer.optimizer)
        torch.save([one.state_dict() for one in parts], path)

    def load(self, path):
        import torch

        self.seed += int(path.stem.rpartition("-")[2])  # Other images than before.
        parts = (self.trainer.network, self.trainer.optimizer)
        for part, state in zip(parts, torch.load(path, weights_only=True), strict=True):
            part.load_state_dict(state)

    def finish(self, folder):
        import torch

        torch.save(self.trainer.network.state_dict(), folder / WEIGHTS)


def _predictor(folder, modality):
    import torch
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    trainer = _trainer(folder, modality)
    trainer.set_deep_supervision_enabled(False)
    weights = torch.load(folder / "trained" / modality / WEIGHTS, weights_only=True)
    trainer.network.load_state_dict(weights)
    trainer.network.eval()
    predictor = nnUNetPredictor(use_mirroring=False, device=torch.device("cpu"), allow_tqdm=False)
    predictor.manual_initialization(
        trainer.network,
        trainer.plans_manager,
        trainer.configuration_manager,
        [weights],
        trainer.dataset_json,
        type(trainer).__name__,
        None,
    )
    return predictor
