import csv
from pathlib import Path

import pytest


@pytest.fixture
def able(segmenter, monkeypatch):
    """The segmenter predicts the quality, and tells the scope: the smaller image is better."""
    plain = type(segmenter).segment

    def segment(self, images, *args, **options):
        found = plain(self, images, *args, **options)
        quality = [{"mask": 0.9 if image.shape[1] == 6 else 0.4} for image in images]
        scores = [0.25 if image.shape[1] == 6 else 1.5 for image in images]
        return {**found, "quality": quality, "scope_score": scores}

    monkeypatch.setattr(type(segmenter), "segment", segment)
    monkeypatch.setattr(type(segmenter), "quality", {"fundus": ["mask"]}, raising=False)
    monkeypatch.setattr(type(segmenter), "scope", ["fundus"], raising=False)
    return segmenter


def names(folder):
    return sorted(path.name for path in Path(folder).iterdir() if path.is_file())


def test_what_is_predicted_to_be_bad_is_set_aside(run, image, able):
    image("eye.png")
    image("dark.png", size=(4, 8))
    given = ("segment", "eye.png", "dark.png", "--modality", "fundus")
    result = run(*given, "--min-quality", "0.7", "--report", "report.csv", "--overlay")
    assert result.exit_code == 3, result.output
    assert names("masks") == ["eye_mask.png", "eye_overlay.png"]
    assert names("masks/set_aside") == ["dark_mask.png", "dark_overlay.png"]
    assert result.stdout.splitlines() == [str(Path("masks/eye_mask.png"))]
    assert "1 image is predicted to be below 0.7" in result.stderr
    with open("report.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    found = [(row["file"], row["target"], row["quality"], row["set_aside"]) for row in rows]
    assert found == [
        ("eye.png", "mask", "0.9000", "no"),
        ("dark.png", "mask", "0.4000", "yes"),
    ]
    # Judged anew, no image is in both folders.
    assert run(*given, "--min-quality", "0.1", "--overlay", "--overwrite").exit_code == 0
    both = ["dark_mask.png", "dark_overlay.png", "eye_mask.png", "eye_overlay.png"]
    assert names("masks") == both and names("masks/set_aside") == []
    assert run(*given, "--min-quality", "0.95", "--overwrite").exit_code == 3
    assert names("masks") == [] and names("masks/set_aside") == ["dark_mask.png", "eye_mask.png"]
    assert run(*given, "--overwrite").exit_code == 0
    assert names("masks") == ["dark_mask.png", "eye_mask.png"] and names("masks/set_aside") == []
    again = run(*given, "--report", "report.csv", "--output", "more")
    assert again.exit_code == 2 and "report.csv already exists" in again.stderr
    Path("folder").mkdir()
    again = run(*given, "--report", "folder", "--overwrite")
    assert again.exit_code == 2 and "folder is a folder" in again.stderr


def test_what_is_out_of_scope_is_named_and_set_aside_when_asked_for(run, image, able):
    image("eye.png")
    image("dark.png", size=(4, 8))
    given = ("segment", "eye.png", "dark.png", "--modality", "fundus", "--report", "report.csv")
    result = run(*given)
    assert result.exit_code == 0 and names("masks") == ["dark_mask.png", "eye_mask.png"]
    told = " ".join(result.stderr.split())
    assert "dark.png: it looks unlike an image of the modality fundus" in told
    assert "eye.png: it looks" not in told
    with open("report.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    found = [(row["scope_score"], row["in_scope"], row["set_aside"]) for row in rows]
    assert found == [("0.2500", "yes", "no"), ("1.5000", "no", "no")]
    result = run(*given, "--only-in-scope", "--overwrite", "--output", "others")
    assert result.exit_code == 3 and "1 image is out of scope." in result.stderr
    assert names("others") == ["eye_mask.png"]
    assert names("others/set_aside") == ["dark_mask.png"]


def test_the_scope_is_not_told_without_the_models_own_size(run, image, able):
    image("eye.png")
    given = ("segment", "eye.png", "--modality", "fundus", "--only-in-scope")
    result = run(*given, "--scales", "0.75,1.25")
    told = " ".join(result.stderr.split())
    assert result.exit_code == 2 and "so put 1 among the scales" in told
    assert not Path("masks").exists()


def test_a_modality_without_a_scope_is_named(run, image, able, monkeypatch):
    image("eye.png")
    predicted = type(able).segment

    def segment(self, *args, **options):
        found = predicted(self, *args, **options)
        return {**found, "scope_score": [None for _ in found["scope_score"]]}

    monkeypatch.setattr(type(able), "segment", segment)
    result = run("segment", "eye.png", "--modality", "fundus", "--only-in-scope")
    told = " ".join(result.stderr.split())
    assert result.exit_code == 0 and "does not tell the scope of fundus" in told


def test_a_target_without_a_prediction_is_named(run, image, able, monkeypatch):
    image("eye.png")
    given = ("segment", "eye.png", "--modality", "fundus", "--min-quality", "0.1")
    assert "Not judged" not in run(*given).stderr
    predicted = type(able).segment

    def segment(self, *args, **options):
        found = predicted(self, *args, **options)
        return {**found, "quality": [{} for _ in found["quality"]]}

    monkeypatch.setattr(type(able), "segment", segment)
    result = run(*given, "--overwrite")
    assert result.exit_code == 0 and names("masks") == ["eye_mask.png"]
    told = " ".join(result.stderr.split())
    assert "Not judged by --min-quality" in told and "mask (fundus)" in told


def test_the_table_has_the_mean_quality(run, image, able):
    image("eye.png")
    image("dark.png", size=(4, 8))
    result = run("segment", "eye.png", "dark.png", "--modality", "fundus")
    assert result.exit_code == 0 and names("masks") == ["dark_mask.png", "eye_mask.png"]
    assert "mean quality" in result.stderr and "0.65" in result.stderr


def test_a_model_that_predicts_none_is_refused(run, image, segmenter):
    image("eye.png")
    given = ("segment", "eye.png", "--modality", "fundus")
    result = run(*given, "--min-quality", "0.7")
    assert result.exit_code == 2 and "does not predict the quality" in result.stderr
    assert not Path("masks").exists()
    assert run(*given, "--min-quality", "1.5").exit_code == 2
    result = run(*given, "--only-in-scope")
    assert result.exit_code == 2 and "does not tell which images are in scope" in result.stderr
