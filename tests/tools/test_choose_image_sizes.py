"""Which size a modality is segmented at."""

import pathlib
import sys

import pytest

TOOLS = pathlib.Path(__file__).resolve().parents[2] / "tools"


@pytest.fixture
def choose_image_sizes(monkeypatch):
    monkeypatch.syspath_prepend(str(TOOLS))
    import choose_image_sizes

    yield choose_image_sizes
    del sys.modules["choose_image_sizes"]


@pytest.mark.parametrize(
    ("dice", "size"),
    [
        ({256: 0.70, 384: 0.71, 512: 0.715}, 256),
        ({256: 0.50, 384: 0.60, 512: 0.604}, 384),
        ({256: 0.50, 384: 0.60, 512: 0.61}, 512),
        ({256: 0.90, 384: 0.80, 512: 0.70}, 256),
        ({256: 0.50, 384: 0.516, 512: 0.52}, 512),
    ],
)
def test_a_larger_size_must_be_worth_its_time(choose_image_sizes, dice, size):
    assert choose_image_sizes.choose(dice, 256, 0.02) == size


def test_the_mean_is_of_targets_and_of_their_data_sets(choose_image_sizes):
    row = lambda modality, target, dice: {  # noqa: E731
        "modality": modality,
        "target": target,
        "dice": {"mean": dice},
    }
    report = {
        "datasets": {
            "a:vessels": row("fundus", "vessels", 0.5),
            "b:vessels": row("fundus", "vessels", 0.7),
            "c:disc": row("fundus", "disc", 0.9),
            "d:disc": row("fundus", "disc", None),
            "e": row("xray", "lungs", 0.8),
        }
    }
    found = choose_image_sizes.mean_dice(report)
    assert found == {"fundus": pytest.approx(0.75), "xray": pytest.approx(0.8)}
