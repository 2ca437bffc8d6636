"""How predicted quality is compared with the truth."""

import numpy as np
import pytest


@pytest.fixture
def trust(load):
    return load("trust")


def row(split, dice, quality, dataset="clinic"):
    kept = {"split": split, "dataset": dataset, "modality": "xray", "target": "lungs"}
    return {**kept, "dice": dice, "quality": quality, "entropy": 1 - quality, "expected": dice}


def test_area_of_risk_by_hand(trust):
    truth = np.array([1.0, 0.5, 0.0])
    # Accepted in the order of the scores: risks 0, 0.25, 0.5 and 1, 0.75, 0.5.
    assert trust.area_of_risk([3, 2, 1], truth) == pytest.approx(0.25)
    assert trust.area_of_risk([1, 2, 3], truth) == pytest.approx(0.75)


def test_the_threshold_accepts_as_many_as_are_good_enough(trust):
    good = [row("val", 0.9, 0.5 + i / 100) for i in range(19)]
    assert trust.threshold_of([*good, row("val", 0.1, 0.4)]) == 0.4  # 19 of 20
    assert trust.threshold_of([*good, row("val", 0.1, 0.4), row("val", 0.1, 0.3)]) == 0.4
    assert trust.threshold_of([row("val", 0.1, 0.9)]) is None


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


def test_the_page_has_a_row_for_each_split_and_data_set(trust):
    rows = [row(split, 0.5 + i / 10, 0.6 + i / 20) for split in trust.SPLITS for i in range(4)]
    corrupted = [{**row("val", 0.4, 0.6), "kind": "dark", "strength": 0.5}]
    seconds = {"with": 0.051, "without": 0.05}
    found = {"preset": "p", "machine": "m", "seconds": seconds, "rows": rows}
    made = trust.figures({**found, "corrupted": corrupted})
    assert made["splits"]["test"]["pearson"] == pytest.approx(1)
    assert made["splits"]["unseen"]["error"] == pytest.approx(0.05)
    text = "\n".join(trust.page(made))
    assert "| unseen: clinic, lungs | 4 | 0.650 |" in text
    assert "| dark | 0.500 | 0.400 | 0.600 |" in text and "(+2.0%" in text
