import io
from pathlib import Path

import numpy as np
from rich.console import Console

from keras_espmedsam.cli.target_summary import TargetSummary
from keras_espmedsam.inference import FileResult


def result(modality, names, share, instances=None):
    """A result whose first target covers a share of ten pixels, the next ones nothing."""
    mask = np.zeros((1, 10, len(names)), bool)
    mask[0, : int(share * 10), 0] = True
    return FileResult(
        *(Path("x.png"), 0, 1, mask),
        modality=modality,
        targets=names,
        known_targets=names,
        instances=instances or {},
    )


def printed(summary):
    console = Console(file=io.StringIO(), width=80)
    summary.print(console)
    return [line.split() for line in console.file.getvalue().splitlines() if line.strip()]


def test_means_of_each_target_and_sums_of_objects():
    summary = TargetSummary()
    summary.add(result("fundus", ("vessels", "disc"), 0.2))
    summary.add(result("fundus", ("vessels", "disc"), 0.4))
    for count in (3, 4):
        summary.add(result("slide", ("nuclei",), 0.1, {"nuclei": np.array([[0, count]])}))
    assert printed(summary)[2:] == [
        ["fundus", "vessels", "2", "30.0%"],
        ["fundus", "disc", "2", "0.0%"],
        ["slide", "nuclei", "2", "10.0%", "7"],
    ]


def test_only_targets_of_their_own_are_told():
    summary = TargetSummary()
    summary.add(result("skin", ("mask",), 0.5))
    assert printed(summary) == []
    summary.add(result("fundus", ("vessels", "disc"), 0.2))
    assert printed(summary)[0] == ["modality", "target", "images", "mean", "area"]
