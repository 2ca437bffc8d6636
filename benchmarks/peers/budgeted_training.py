"""Train a network until its CPU seconds are used, with checkpoints to resume from."""

import math
import time

from cpu_budget import CpuBudget, read_json, write_json

STATE = "training.json"
WARMUP = 0.03


def rate_factor(share, warmup=WARMUP):
    """Return the factor of the learning rate: a short rise, and then half a cosine down to 0.

    Args:
        share: float. The share of the budget that is used, from 0 to 1.
    """
    return min(1.0, share / warmup) * (1 + math.cos(math.pi * share)) / 2


def train_within(seconds, folder, network, batches, every=60.0, **clock):
    """Train until the budget is used.

    Args:
        seconds: float. CPU seconds.
        folder: path of the checkpoints.
        network: object with `step(batch, share)`, `save(path)`, `load(path)`, `finish(folder)`.
        batches: function of the step's number and the share of the budget to a batch.
        every: float. CPU seconds between checkpoints.
        **clock: see `CpuBudget`.

    Returns:
        dict: `cpu_seconds` and `steps`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    state = read_json(folder / STATE) or {"steps": 0, "cpu_seconds": 0.0, "file": None}
    if state["file"]:
        network.load(folder / state["file"])
    budget = CpuBudget(seconds, state["cpu_seconds"], **clock)
    saved, told = budget.used, time.monotonic()
    steps = state["steps"]
    while budget.share < 1:
        share = budget.share
        loss = network.step(batches(steps, share), share)
        steps += 1
        if time.monotonic() - told > 30:
            print(f"step {steps}, {share:.0%}, loss {loss:.3f}", flush=True)
            told = time.monotonic()
        if budget.used - saved >= every or budget.share >= 1:
            saved = budget.used
            state = _save(folder, network, steps, budget.used, state["file"])
    network.finish(folder)
    return {"cpu_seconds": round(state["cpu_seconds"], 1), "steps": steps}


def _save(folder, network, steps, used, earlier):
    # The state names its file: a checkpoint is complete, or the one before it holds.
    name = f"checkpoint-{steps}{network.suffix}"
    network.save(folder / name)
    state = {"steps": steps, "cpu_seconds": used, "file": name}
    write_json(folder / STATE, state)
    if earlier and earlier != name:
        (folder / earlier).unlink(missing_ok=True)
    return state
