"""How predicted quality is compared with the truth."""

import numpy as np
import pytest


@pytest.fixture
def trust(load, monkeypatch):
    monkeypatch.syspath_prepend("benchmarks")
    return load("trust")


@pytest.fixture
def figures(load, monkeypatch):
    monkeypatch.syspath_prepend("benchmarks")
    return load("trust_figures")


def row(split, dice, quality, dataset="clinic"):
    kept = {"split": split, "dataset": dataset, "modality": "xray", "target": "lungs"}
    kept |= {"image": f"{dice}.png"}
    return {**kept, "dice": dice, "quality": quality, "entropy": 1 - quality, "expected": dice}


def test_area_of_risk_by_hand(figures):
    truth = np.array([1.0, 0.5, 0.0])
    # Accepted in the order of the scores: risks 0, 0.25, 0.5 and 1, 0.75, 0.5.
    assert figures.area_of_risk([3, 2, 1], truth) == pytest.approx(0.25)
    assert figures.area_of_risk([1, 2, 3], truth) == pytest.approx(0.75)


def test_the_threshold_accepts_as_many_as_are_good_enough(figures):
    good = [row("val", 0.9, 0.5 + i / 100) for i in range(19)]
    assert figures.threshold_of([*good, row("val", 0.1, 0.4)]) == 0.4  # 19 of 20
    assert figures.threshold_of([*good, row("val", 0.1, 0.4), row("val", 0.1, 0.3)]) == 0.4
    assert figures.threshold_of([row("val", 0.1, 0.9)]) is None


def test_corruptions_begin_with_the_image_and_get_worse(trust):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (32, 32, 3), dtype="uint8")
    for kind in trust.KINDS:
        assert trust.corrupt(image, kind, 0.0, rng) is image
        errors = [
            np.abs(trust.corrupt(image, kind, strength, rng).astype(int) - image).mean()
            for strength in (0.25, 1.0)
        ]
        assert 0 < errors[0] < errors[1], kind


def measured(dataset, number):
    """A mask whose Dice is what its first statistic says."""
    logit = np.linspace(-1, 2, 12)[number]
    kept = {"modality": "xray", "target": "lungs", "dataset": dataset}
    return {**kept, "statistics": [logit, 0, 0, 0, 0], "dice": 1 / (1 + np.exp(-logit))}


def test_what_was_left_out_is_predicted_from_the_others(figures):
    masks = [measured(dataset, number) for dataset in ("a", "b") for number in range(12)]
    first, second = figures.left_out(masks, 1e-3)
    assert (first["dataset"], second["dataset"], first["masks"]) == ("a", "b", 12)
    assert first["error"] < 1e-3 and first["predicted"] == pytest.approx(first["dice"], abs=1e-3)
    assert figures.left_out(masks[:12]) == []


def test_the_report_says_what_is_saved_and_where_it_fails(load, figures, tmp_path):
    rows = [
        row(split, 0.5 + i / 25, 0.6 + i / 25)
        for split in figures.SPLITS
        for i in range(10)
    ]  # fmt: skip
    rows += [row("unseen", 0.25, 0.9375, "away")] * 2
    times = {"neither": [50], "quality": [51], "scope": [50], "both": [52], "recogniser": [5]}
    found = {
        **{"preset": "a preset", "machine": "m", "keras": "3"},
        "times": {"torch": {"machine": "m", "milliseconds": times}},
        "statistics": [measured(dataset, i) for dataset in ("a", "b") for i in range(12)],
        "rows": rows,
        "corrupted": [{**row("val", 0.4, 0.6), "kind": "dark", "strength": 0.5}],
    }
    made = figures.figures(found)
    assert made["splits"]["test"]["pearson"][0] == pytest.approx(1)
    assert made["splits"]["test"]["error"][0] == pytest.approx(0.1)
    # Of val, those of 0.82 and 0.86 are good.
    assert made["threshold"] == pytest.approx(0.92)
    assert made["accepted"]["test"]["share"] == pytest.approx(0.2)
    assert made["accepted"]["unseen"]["good"] == pytest.approx(0.5)
    load("trust_report").write(found, tmp_path / "trust.md")
    page = (tmp_path / "trust.md").read_text()
    assert "| away | lungs | unseen | 2 | 0.250 | 0.938 |" in page
    assert "away (unseen), lungs: predicted 0.94, true mean 0.25; 2 of 2 masks" in page
    assert "not look at 20% of the masks; 100.0% of these" in page
    assert "50.0% of these have a Dice of at least 0.8, so what was asked for does not" in page
    assert "| dark | 0.5 | 1 | 0.400 | 0.600 |" in page and "| +2.0% (+2.0% to +2.0%) |" in page
    assert (tmp_path / "trust.json").is_file()
    assert (tmp_path / "trust.png").read_bytes().startswith(b"\x89PNG")
