"""The figures of calibration and guarantees, from counts that are known."""

import json

import numpy as np
import pytest

from keras_espmedsam.evaluation.pixel_counts import pixel_counts


@pytest.fixture
def script(load):
    return load("guarantees")


@pytest.fixture
def stored(script, tmp_path):
    """Twelve images of each of three splits; those of the unseen place show the target faintly."""
    rng = np.random.default_rng(0)
    keys, counts = [], []
    for split, dataset, faint in (
        ("val", "home", 0.0),
        ("test", "home", 0.0),
        ("unseen", "away", 4.0),
    ):
        for _ in range(24):
            truth = rng.random(400) < 0.5
            logits = np.where(truth, 3 - faint, -3) + rng.normal(0, 2, 400)
            keys.append((split, "xray", "lungs", dataset, ""))
            counts.append(pixel_counts(1 / (1 + np.exp(-logits)), truth))
    path = tmp_path / "counts.npz"
    np.savez(
        path,
        keys=json.dumps(keys),
        counts=np.stack(counts),
        preset="a preset",
        machine="a machine",
        keras="3",
    )
    return script.Counts(path)


def test_recall_holds_at_home_and_not_away(script, stored):
    home, away = script.place_rows(stored)
    assert (home["split"], away["dataset"]) == ("test", "away")
    assert home["val"]["recall"] >= 0.9 > away["val"]["recall"]
    own = away["own"]["10 images, recall 0.9"]
    assert own["recall"] >= 0.9
    assert own["false_discovery_rate"] > away["val"]["false_discovery_rate"]
    assert "30 images, recall 0.9" not in away["own"]  # There are 24.


def test_random_halves_keep_to_the_bound(script, stored):
    (row,) = script.split_rows(stored)
    assert row["recall"]["low"] >= 0.9 and row["images"] == 24
    assert row["dice"]["shown"] == 100 and row["dice"]["wrong"] == 0


def test_a_temperature_leaves_the_masks(script, stored):
    rows = script.calibration_rows(stored)
    for row in rows:
        assert row["temperature"]["dice"] == row["none"]["dice"]
    home = rows[0]
    assert home["bias"]["brier"] <= home["none"]["brier"] + 1e-3


def test_the_page_says_where_it_fails(script, stored, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend("benchmarks")
    script.report(tmp_path / "counts.npz", tmp_path)
    page = (tmp_path / "guarantees.md").read_text()
    assert "Recall does not hold on 1 of 1 unseen sets: away (0." in page
    assert "a preset" in page and "a machine; Keras 3" in page
    figures = json.loads((tmp_path / "guarantees.json").read_text())
    assert figures["places"] == script.place_rows(stored)
    assert (tmp_path / "guarantees.png").read_bytes().startswith(b"\x89PNG")
