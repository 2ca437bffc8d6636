"""The statistics of docs/reports/systems.md."""

import json

import numpy as np
import pytest


@pytest.fixture(scope="module")
def report(load):
    return load("accuracy_report")


def result(values, split="test", reverse=False):
    """Of two data sets, one image larger than the other."""
    images = [
        {"split": split, "dataset": "ab"[i % 2], "image": f"m/{i:03d}.png", "dice": value}
        for i, value in enumerate(values)
    ]
    return {"images": images[::-1] if reverse else images}


def test_every_set_counts_alike_however_many_images_it_has(report):
    assert report.mean_of_sets(np.zeros(90), np.ones(10)) == 0.5


def test_images_are_paired_by_name_and_not_by_order(report):
    rng = np.random.default_rng(0)
    values = rng.random(40)
    found = report.difference(result(values + 0.1), result(values, reverse=True), "test")
    assert found == pytest.approx((0.1, 0.1, 0.1))


def test_the_interval_is_that_of_the_mean(report):
    rng = np.random.default_rng(0)
    samples = rng.normal(0.2, 1.0, 400), rng.normal(0.4, 1.0, 100)
    value, low, high = report.interval(samples)
    assert value == pytest.approx(np.mean([np.mean(sample) for sample in samples]))
    deviation = np.sqrt(sum(np.var(s) / len(s) for s in samples)) / 2
    assert [low - value, high - value] == pytest.approx(
        [-1.96 * deviation, 1.96 * deviation], rel=0.1
    )


def test_a_difference_that_may_be_none_is_undecided(report):
    rng = np.random.default_rng(0)
    values = rng.random(40)
    systems = {
        report.SHIPPED: result(values) | {"title": "shipped"},
        "worse": result(values - 0.1 * rng.random(40)) | {"title": "worse"},
        "like": result(values + 0.1 * rng.normal(size=40)) | {"title": "like"},
    }
    for system in systems.values():
        system["images"] += [{**image, "split": "unseen"} for image in system["images"]]
    lines = report.difference_table(systems).splitlines()[2:]
    assert [line.split("|")[3].strip() for line in lines] == ["better", "undecided"]


def test_a_claim_is_of_the_recipe_and_not_of_what_is_shipped(report, monkeypatch):
    values = np.random.default_rng(0).random(40)
    shifts = {"nano": 0.0, "shared": -0.1, "labels": 0.1}
    systems = {name: result(values + shift) | {"title": name} for name, shift in shifts.items()}
    for system in systems.values():
        system["images"] += [{**image, "split": "unseen"} for image in system["images"]]
    monkeypatch.setattr(report, "SHIPPED", "labels")
    shared, labels = report.claim_table(systems).splitlines()[2:]
    assert "beat one for all | holds (0.100" in shared
    assert "labels alone | does not: the contrary holds (-0.100" in labels


def test_what_the_wheel_gives_is_compared_set_by_set(report, tmp_path):
    shipped = result([0.2, 0.4] * 5)
    assert report.wheel_table(shipped, tmp_path) == ""
    found = {"a": {"dice": {"mean": 0.2}}, "b": {"dice": {"mean": 0.401}}}
    (tmp_path / "jax.json").write_text(json.dumps({"backend": "jax", "datasets": found}))
    lines = report.wheel_table(shipped, tmp_path).splitlines()[2:]
    assert lines[0] == "| above | 0.2000 | 0.4000 |  |"
    assert lines[1] == "| jax | 0.2000 | 0.4010 | 0.00100 |"


def test_what_mirroring_changes_is_paired_by_image(report, tmp_path):
    path = tmp_path / "mirrored.csv"
    shipped = result([0.2, 0.4] * 5)
    shipped["images"] += [{**image, "split": "unseen"} for image in shipped["images"]]
    assert report.mirror_table(shipped, path) == ""
    rows = [
        f"{image['dataset']},{image['split']},{image['image']},{image['dice'] + 0.1}"
        for image in shipped["images"][::-1]
    ]
    path.write_text("\n".join(["dataset,split,image,dice", *rows]))
    lines = report.mirror_table(shipped, path).splitlines()[2:]
    assert lines[0] == "| a | 0.200 | 0.300 | 0.100 [0.100, 0.100] |"
    assert lines[2] == "| **mean of test** | 0.300 | 0.400 | 0.100 [0.100, 0.100] |"
    assert len(lines) == 6


def test_calibration_error_is_the_mean_distance_over_pixels(report):
    # 10 pixels said 0.2 of which 2 are true, 30 said 0.9 of which 24 are.
    assert report.expected_calibration_error([[10, 30], [2, 27], [2, 24]]) == pytest.approx(3 / 40)


def test_the_worst_images_are_named_by_modality(report):
    images = [
        {"image": f"{'xf'[i % 2]}/{i}.png", "dice": i / 100, "precision": 1, "recall": 1}
        for i in range(50)
    ]
    text = report.worst({"images": images})
    assert text.index("### F") < text.index("### X")
    assert "`x/18.png`" in text and "`x/20.png`" not in text


def test_the_worst_images_are_named_by_target(report):
    images = [
        {"image": f"x/{i}.png", "target": target, "dice": i / 100, "precision": 1, "recall": 1}
        for i in range(20)
        for target in ("lungs", "heart")
    ]
    text = report.worst({"images": images})
    assert text.index("### X: heart") < text.index("### X: lungs")
    assert text.count("`x/0.png`") == 2
