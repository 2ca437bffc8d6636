"""Train what people would pick beside our network, on the same data for the same CPU time.

    ESPMEDSAM_DATA=DATA ESPMEDSAM_LITE0=PRESET ESPMEDSAM_LITE0_PTH=FILE.pth \\
        python benchmarks/peers/compare.py run --budget 1500 --python PEERS_PYTHON
    python benchmarks/peers/compare.py report --budget 1500

`run` trains and measures one peer after another; `train` and `measure` do one of it. Repeat a
command to resume it. Each process has one thread; a budget is CPU seconds of one core for all six
modalities together, from the start of the process. All peers segment the same images: the first
target of each modality, test and unseen of index2.csv. `report` writes docs/reports/peers.md and
peers.json.

Peers need libraries that this project does not. Their files say which; put them all into one
environment, torch first, and give its Python by --python or ESPMEDSAM_PEERS_PYTHON:

    pip install torch==2.13.0
    pip install segmentation-models-pytorch nnunetv2 keras pydantic pyyaml
"""

import argparse
import os
import pathlib
import subprocess
import sys

from cpu_budget import read_json
from peer_table import OURS, PEERS, make_peer
from run_peer import RESULT, TRAINED

from keras_espmedsam.errors import InputError

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
STEPS = {"train": ("prepare", "train"), "measure": ("measure",)}
STEPS["run"] = STEPS["train"] + STEPS["measure"]


def folder_of(output, budget, seed, name):
    return output / f"{budget:g}_seconds_seed_{seed}" / name


def command_of(step, name, folder, budget, seed, python):
    """Return the arguments and the environment of a peer's process."""
    peer = make_peer(name)
    # What this project's environment has is used from there.
    program = python if peer.modules and python else sys.executable
    argv = [program, str(HERE / "run_peer.py"), step, name, "--folder", str(folder)]
    argv += ["--budget", f"{budget:g}", "--seed", str(seed)]
    threads = ("OMP", "MKL", "OPENBLAS")
    environment = {
        **os.environ,
        **{f"{one}_NUM_THREADS": "1" for one in threads},
        "TF_NUM_INTRAOP_THREADS": "1",
        "TF_NUM_INTEROP_THREADS": "1",
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "KERAS_BACKEND": peer.backend,
        "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]),
    }
    return argv, environment


def is_done(step, folder):
    return (folder / (RESULT if step == "measure" else TRAINED)).exists()


def run(steps, names, output, budget, seed, python, call=subprocess.run):
    """Run the steps of one peer after another.

    Returns:
        dict of the peers that failed to a sentence; the others go on.
    """
    failed = {}
    for name in names:
        folder = folder_of(output, budget, seed, name)
        for step in steps:
            if is_done(step, folder):
                continue
            if step == "measure" and not (folder / TRAINED).exists():
                failed[name] = "it is not trained yet"
                break
            print(f"{name}: {step}", flush=True)
            argv, environment = command_of(step, name, folder, budget, seed, python)
            status = call(argv, env=environment).returncode
            if status:
                failed[name] = f"{step} ended with status {status}"
                break
    return failed


def read_results(output, budget, seed, names):
    """Return dict of peer to what `measure` wrote, of those that it measured."""
    found = {name: read_json(folder_of(output, budget, seed, name) / RESULT) for name in names}
    return {name: result for name, result in found.items() if result}


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", choices=("list", *STEPS, "report"))
    parser.add_argument("--peers", nargs="+", metavar="PEER", default=list(PEERS))
    parser.add_argument("--budget", type=float, default=1500, help="CPU seconds of each peer")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("runs/peers"))
    parser.add_argument("--reports", type=pathlib.Path, default=ROOT / "docs" / "reports")
    parser.add_argument("--python", default=os.environ.get("ESPMEDSAM_PEERS_PYTHON"))
    given = parser.parse_args(arguments)
    if given.budget <= 0:
        parser.error(f"the budget is {given.budget:g} CPU seconds; give more than 0")
    try:
        peers = {name: make_peer(name) for name in given.peers}
    except InputError as error:
        parser.error(str(error))
    if given.what == "list":
        for name, peer in peers.items():
            print(f"{name}: {peer.title}. {peer.changed}.")
        return
    if given.what == "report":
        import peers_report

        results = read_results(given.output, given.budget, given.seed, given.peers)
        if OURS not in results:
            parser.error(f"no result of {OURS} in {given.output} for this budget; run it first")
        peers_report.write(given.reports, results)
        return
    if "ESPMEDSAM_DATA" not in os.environ:
        parser.error("set ESPMEDSAM_DATA to the folder that holds index2.csv")
    output = given.output.absolute()
    failed = run(STEPS[given.what], given.peers, output, given.budget, given.seed, given.python)
    for name, sentence in failed.items():
        print(f"{name}: {sentence}; repeat the command to resume it.", file=sys.stderr)
    if failed:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
