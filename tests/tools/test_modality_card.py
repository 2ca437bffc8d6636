"""The card of the recogniser says what its report says."""

import importlib

import pytest


@pytest.fixture
def card(monkeypatch):
    monkeypatch.syspath_prepend("tools")
    return importlib.import_module("modality_card")


def report(right, refused, wrong):
    def split(*counts):
        return {"eyes": {"modality": "fundus", "images": sum(counts), "as": list(counts)}}

    splits = dict.fromkeys(("val", "test", "unseen", "transfer_test"), split(0, 5, 0))
    return {
        "modalities": ["xray", "fundus"],
        "trained_on": ["eyes", "chests"],
        "splits": {**splits, "unseen": split(wrong, right, refused)},
        "before": {**splits, "unseen": split(0, right + refused + wrong, 0)},
    }


def test_a_refused_image_is_not_right_and_not_wrong(card):
    table = card.summary_table(report(right=6, refused=3, wrong=1)).splitlines()
    assert "| unseen | 10 | 6 (60.0 %) | 3 | 1 | 10 (100.0 %) |" in table
    assert "| val | 5 | 5 (100.0 %) | 0 | 0 | 5 (100.0 %) |" in table


def test_only_data_sets_with_mistakes_are_listed(card):
    (row,) = card.dataset_table(report(right=6, refused=3, wrong=1)).splitlines()[2:]
    assert row == "| unseen | eyes | fundus | 10 | 6 | 3 | xray 1 | 10 |"


def test_the_confusion_counts_all_data_sets(card):
    found = card.confusion_table(report(right=6, refused=3, wrong=1), "unseen").splitlines()
    assert found[0] == "| true \\ recognised | xray | fundus | refused |"
    assert found[2:] == ["| fundus | 1 | 6 | 3 |"]


def test_a_data_set_of_both_is_named_as_both(card):
    assert card.uses(report(1, 1, 1)) == {
        "chests": "training",
        "eyes": "training, and one centre as a test",
    }
