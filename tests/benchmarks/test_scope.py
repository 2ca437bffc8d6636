"""What the report on images out of scope is made of."""

import json

import numpy as np
import pytest


@pytest.fixture
def scope(load, monkeypatch):
    monkeypatch.syspath_prepend("benchmarks")
    return load("scope")


@pytest.fixture
def report(load):
    return load("scope_report")


def test_shares_have_exact_intervals(report):
    found = report.share([True] + [False] * 49)
    assert found["images"] == 50 and found["flagged"] == 0.02
    # Clopper and Pearson, by the quantiles of the beta distribution.
    assert (found["low"], found["high"]) == pytest.approx((0.000506, 0.106470), abs=1e-5)
    assert report.share([]) is None


def test_distances_are_those_of_their_definition(report):
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(size=(60, 3)), rng.normal(size=(60, 3)) + [5, 0, 0]])
    of = np.repeat(["a", "b"], 60)
    found = report.Distances(x, of, np.full(120, "one")).scores(x, np.full(120, "a"))
    own = x[:60] / x.std(axis=0)
    matrix = 0.9 * np.cov(own.T, bias=True)
    matrix += np.eye(3) * np.trace(matrix) / 0.9 / 3 * 0.1
    gap = own[0] - own.mean(axis=0)
    assert found["own"][0] == pytest.approx(gap @ np.linalg.inv(matrix) @ gap, rel=1e-3)
    for name in ("own", "tied", "relative", "nearest"):
        assert found[name][60:].mean() > found[name][:60].mean(), name


def test_flags_follow_the_threshold_of_each_modality(report):
    said = np.repeat(["a", "b"], 100)
    scores = np.concatenate([np.arange(100.0), np.arange(1000.0, 1100.0)])
    proper = np.ones(200, bool)
    flags = report.flagged(scores, said, proper)
    assert flags.sum() == 4 and flags[98:100].all() and flags[198:].all()


def test_worse_copies_keep_image_and_mask_together(scope):
    image = np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype="uint8")
    copies = list(scope.worse_copies(image, {"m": image[..., 0]}, np.random.default_rng(1)))
    assert len(copies) == 1 + len(scope.KINDS) * len(scope.STRENGTHS)
    for kind, strength, worse, masks in copies:
        assert worse.shape[:2] == masks["m"].shape and worse.dtype == "uint8"
        if kind == "cropped":
            np.testing.assert_array_equal(worse[..., 0], masks["m"])
        elif strength:
            assert np.abs(worse.astype(int) - image).mean() > 1, kind
    assert copies[-1][2].shape == (28, 42, 3)


def test_the_page_has_all_that_was_measured(report):
    rng = np.random.default_rng(0)
    centres = {"a": -3.0, "b": 3.0, "": 9.0}
    known, x = [], []

    def add(count, split, dataset, of, said):
        known.extend([{"split": split, "dataset": dataset, "of": of, "said": said}] * count)
        x.extend(rng.normal(size=(count, 2)) + centres[of])

    for split, sets in (("train", 2), ("val", 2), ("test", 1), ("unseen", 1)):
        for of in "ab":
            for number in range(sets):
                add(12, split, f"{of}{number}", of, of)
                if split != "unseen":
                    add(4, split, f"{of}{number}", of, "b" if of == "a" else "a")
    for split, dataset in (("train", "others"), ("test", "photographs"), ("test", "generated")):
        for said in "ab":
            add(4, split, dataset, "", said)
    # Larger is another modality for a, and smaller for b; the others are beyond both.
    of = np.array([one["of"] for one in known])
    # The recogniser is sure of a and b, and not of others.
    logits = 4.0 * np.stack([of == "a", of == "b"], axis=1) + rng.normal(size=(len(of), 2)) / 9
    archive = {"statistics": np.array(x), "known": np.array(json.dumps(known))}
    archive |= {"recognised": logits, "classes": np.array(["a", "b"]), "least": np.float32(0.9)}
    one = {"kind": "dark", "strength": 0.5, "masks": 3, "dice": 0.5, "quality": 0.6, "flagged": 0}
    stored = {"preset": "p", "date": "d", "machine": "m", "corrupted": [one]}
    stored["images_of_a_dataset"] = 2
    made = report.figures(archive, stored, {"a": [0.0, 1.0, 1.0], "b": [0.0, -1.0, -1.0]})
    assert made["groups"]["test"]["flagged"] == 0 == made["groups"]["unseen"]["flagged"]
    assert made["groups"]["other modality"]["flagged"] == 1
    assert made["groups"]["photographs"]["flagged"] == 0.5  # b alone does not see them.
    assert made["pairs"]["a"]["b"]["flagged"] == 1 and made["pairs"]["a"]["a"]["flagged"] == 0
    assert made["left_out"] == 4
    scores = made["scores"]
    assert scores["regression"]["crossed"] == scores["said_probability"]["crossed"] == 1
    # The energy does not know what was said, and what is known by halves is not in scope.
    assert scores["energy"]["crossed"] < 0.2 and scores["energy"]["photographs"] == 1
    assert scores["verdict"]["val"] == 0 and scores["verdict"]["photographs"] == 1
    milliseconds = {"neither": [50, 50], "quality": [50.5, 51], "scope": [50, 50]}
    milliseconds |= {"both": [51, 52], "recogniser": [5, 5]}
    made["times"] = {"torch": {"milliseconds": milliseconds}}
    text = "\n".join(report.page(made))
    assert "| a | 0.0% | 100.0% |" in text and "| unseen: a0, as a | 12 | 0.0% |" in text
    assert "| dark | 0.5 | 3 | 0.500 | 0.600 | 0.0% |" in text
    assert "| torch | 50 ms | +1.5% (+1.0% to +2.0%) | +0.0% (+0.0% to +0.0%) | +3.0%" in text
    assert "| 5 ms (10%) |" in text
