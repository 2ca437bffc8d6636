"""One step of one peer, in a process of its own: `compare.py` starts it.

python benchmarks/peers/run_peer.py STEP PEER --folder FOLDER --budget 1500 --seed 0
"""

import argparse
import os
import pathlib
import platform

from cpu_budget import read_json, write_json
from peer import AsSegmenter, check_modules
from peer_data import MODALITIES, SPLITS, PeerData
from peer_table import make_peer

TRAINED = "trained.json"
RESULT = "result.json"
STEPS = ("prepare", "train", "measure")


def run(step, name, folder, budget, seed, data=None, peer=None):
    """Run one step; what is done already is left as it is.

    Args:
        step: one of `STEPS`.
        name: a key of `PEERS`.
        folder: path of what belongs to this peer, budget and seed.
        budget: float. CPU seconds.
        seed: int.
        data: `PeerData`, by default that of the environment.
        peer: `Peer`, by default that of the name.
    """
    peer = peer or make_peer(name)
    check_modules(peer)
    data = data or PeerData()
    folder.mkdir(parents=True, exist_ok=True)
    if step == "prepare":
        peer.prepare(data, folder)
    elif step == "train" and not (folder / TRAINED).exists():
        found = peer.train(data, budget, seed, folder)
        write_json(folder / TRAINED, {"peer": name, "budget": budget, "seed": seed, **found})
    elif step == "measure" and not (folder / RESULT).exists():
        trained = read_json(folder / TRAINED)
        peer.load(data, folder)
        write_json(folder / RESULT, {**trained, **describe(peer), **measure(peer, data)})


def describe(peer):
    """Return what the report says of a peer."""
    return {
        "title": peer.title,
        "changed": peer.changed,
        "augmentation": peer.augmentation,
        "licence": peer.licence,
        "parameters": peer.parameters(),
        "machine": f"{platform.machine()}, one of {os.cpu_count()} CPU cores",
    }


def measure(peer, data):
    """Return the Dice of every image of test and unseen."""
    from keras_espmedsam.evaluation import evaluate

    images = []

    def keep(record, truth, probabilities, measures):
        images.append(
            {
                "split": record.split,
                "modality": record.modality,
                "dataset": record.dataset,
                "group": record.group,
                "image": pathlib.Path(record.image).relative_to(data.folder).as_posix(),
                "dice": round(float(measures["dice"]), 4),
            }
        )

    segmenter = AsSegmenter(peer, MODALITIES)
    evaluate(segmenter, data.records(*SPLITS), metrics=["dice"], each=keep)
    return {"images": images}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("step", choices=STEPS)
    parser.add_argument("peer")
    parser.add_argument("--folder", type=pathlib.Path, required=True)
    parser.add_argument("--budget", type=float, required=True)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    run(given.step, given.peer, given.folder, given.budget, given.seed)


if __name__ == "__main__":
    main()
