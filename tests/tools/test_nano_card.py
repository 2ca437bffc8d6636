"""The card of the nano preset states what was measured, of each target and version."""

import importlib
from types import SimpleNamespace

import pytest
import yaml

pytest.importorskip("huggingface_hub")


@pytest.fixture
def card(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend("tools")
    run = tmp_path / "run"
    (run / "1-192").mkdir(parents=True)
    (run / "1-192" / "curves.csv").write_text("epoch,val_masks_dice\n1,0.5\n2,0.75\n3,0.7\n")
    settings = {
        "model": {"targets": {"fundus": ["vessels", "optic_disc"]}},
        "data": {"sources": [{"datasets": ["drive", "hrf"]}]},
    }
    (run / "config.yaml").write_text(yaml.safe_dump(settings))

    def results(version, dice, targets):
        images = [
            {"split": split, "modality": "fundus", "dataset": dataset, "target": target}
            | {"image": f"{dataset}/{number}.png", "subgroup": "", "dice": dice, "iou": 0.25}
            | {"precision": 0.5, "recall": 0.5, "hd95": 3.0}
            for split, dataset in (("test", "drive"), ("unseen", "stare"))
            for target in targets
            if (dataset, target) != ("stare", "optic_disc")
            for number in range(3)
        ]
        preset = f"espmedsam_nano_256@{version}"
        return {"preset": preset, "keras": "3, torch", "machine": "here", "images": images}

    figures = {
        "masks": 3,
        "dice": 0.75,
        "predicted": 0.7,
        **{name: [0.5, 0.25, 0.625] for name in ("pearson", "spearman", "error")},
    }
    trust = {
        "threshold": 0.875,
        "splits": dict.fromkeys(("test", "unseen"), figures),
        "accepted": {
            "test": {"share": 0.5, "good": 0.75},
            "unseen": {"share": 0.0, "good": None},
        },
    }
    calibration = [
        {"split": split, "none": {"ece": 0.5, "brier": 0.25}}
        | {"temperature": {"ece": 0.125, "brier": 0.0625}}
        for split in ("test", "unseen", "unseen")
    ]
    segmenter = SimpleNamespace(
        postprocessing={"fundus": {"optic_disc": {"max_objects": 1}, "vessels": {}}},
        preprocessor=SimpleNamespace(
            image_converter=SimpleNamespace(image_sizes={"fundus": (512, 512)})
        ),
        probability_calibration={"fundus": {"vessels": {"temperature": 1.5}}},
    )
    return importlib.import_module("nano_card").nano_card(
        results=results(2, 0.875, ["vessels", "optic_disc"]),
        earlier=results(1, 0.625, ["vessels"]),
        trust=trust,
        guarantees={"calibration": calibration},
        scope={"groups": {"unseen": {"images": 8, "flagged": 0.125, "low": 0.01, "high": 0.5}}},
        seen=["Thin vessels are missed."],
        run=run,
        segmenter=segmenter,
        params=1234567,
        size=5.0,
        digest="abc",
        commit="def",
        minutes=None,
    )


def test_the_card_states_each_target_and_version(card):
    value = "0.875 [0.875, 0.875]"
    assert f"| drive | vessels | 3 | {value} | 0.625 | 0.250 | 0.500 | 0.500 | 3.0 |" in card
    assert f"| drive | optic_disc | 3 | {value} |  | 0.250 |" in card
    assert "| 192 | 3 | 0.750 |" in card
    assert "| fundus: optic_disc | `max_objects` 1 |" in card and "fundus: vessels" not in card
    assert "not known for optic disc: no unseen set" in card
    assert "\n    - Thin vessels are missed.\n" in card
    assert "| hrf | training |" in card and "| stare | unseen |" in card
    assert "| drive | training, test |" in card and "commit def; here." in card


def test_the_card_says_how_far_quality_and_probabilities_can_be_trusted(card):
    value = "0.500 [0.250, 0.625]"
    assert f"| test | 3 | 0.750 | 0.700 | {value} | {value} | {value} |" in card
    assert "At a predicted Dice of 0.875 or more, chosen on val, 50% of the test masks" in card
    assert "are accepted (75% of these have" in card and "0% of the unseen ones (0%)." in card
    assert "vessels (fundus) 1.50." in card
    assert "| unseen | 8 | 12.5% | 1.0% to 50.0% |" in card
    assert "| unseen | 2 | 0.5000 | 0.1250 | 0.2500 | 0.0625 |" in card


def test_hubs_read_the_results_of_each_target(card):
    from huggingface_hub import ModelCard

    found = ModelCard(card).data.eval_results
    dice = {one.dataset_name: one.metric_value for one in found if one.metric_type == "dice"}
    assert dice == {"drive:optic_disc": 0.875, "drive:vessels": 0.875, "stare": 0.875}
