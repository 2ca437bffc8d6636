"""Where weights come from is carried on from preset to preset, and what strangers write of it."""

import json
import types

import pytest

from keras_espmedsam.errors import InputError
from keras_espmedsam.hub.built_in_presets import versioned_name
from keras_espmedsam.hub.checksums import file_sha256
from keras_espmedsam.hub.origins import (
    ENCODER,
    MODEL,
    ORIGINS_FILE,
    TEACHER,
    Origin,
    checked_origins,
    folder_name,
    origins_of,
    origins_section,
    read_origins,
    write_origins,
)
from keras_espmedsam.hub.write_preset import write_own_origins, write_preset

LITE0 = Origin(ENCODER, "EfficientNet-Lite0", "Apache-2.0", "https://example.org", "5793")


def preset(folder, *origins, converted=False, card=None):
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.weights.h5").write_bytes(b"weights")
    if origins:
        write_origins(folder, origins, converted)
    if card is not None:
        (folder / "README.md").write_text(card)
    return folder


def test_a_conversion_is_what_it_was_made_from(tmp_path):
    folder = preset(tmp_path / "lite0", LITE0, converted=True)
    assert read_origins(folder) == [LITE0]
    assert origins_of(folder, ENCODER) == [LITE0]
    inner = f"{ENCODER} of the {TEACHER}"
    assert origins_of(folder, inner) == [LITE0._replace(part=inner)]


def test_a_trained_preset_is_an_origin_with_its_own(tmp_path):
    card = "---\nlicense: other\nlicense_name: research-use-only\n---\n# Mine\n"
    folder = preset(tmp_path / "eyes" / "preset", LITE0, card=card)
    digest = file_sha256(folder / "model.weights.h5")
    itself = Origin(MODEL, "eyes/preset", "research-use-only", None, digest)
    assert origins_of(f"{folder}/", MODEL) == [itself, LITE0]
    teacher, encoder = origins_of(folder, TEACHER)
    assert teacher == itself._replace(part=TEACHER)
    assert encoder == LITE0._replace(part="image encoder of the teacher")
    (folder / "README.md").unlink()
    assert origins_of(folder, MODEL)[0].licence is None


def test_origins_elsewhere(tmp_path):
    newest = versioned_name("espmedsam_nano_256")
    built_in = origins_of(newest, MODEL)[0]
    assert built_in[:4] == (MODEL, newest, "research-use-only", "keras-espmedsam")
    assert len(built_in.sha256) == 64
    name = "efficientnet_lite0_ra_imagenet"
    assert origins_of(name, ENCODER) == [Origin(ENCODER, name, source="keras-hub")]
    assert origins_of("hf://org/eyes", MODEL) == [Origin(MODEL, "hf://org/eyes")]
    gone = tmp_path / "patient" / "gone"
    assert origins_of(gone, TEACHER) == [Origin(TEACHER, "gone")]
    assert folder_name(gone / "preset") == "gone/preset"


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        '{"origins": {}}',
        '{"origins": [3]}',
        '{"origins": [{"part": "model"}]}',
        '{"origins": [{"part": "model", "name": ["a"]}]}',
        '{"origins": [{"part": "model", "name": "a", "licence": 3}]}',
        json.dumps({"origins": [{"part": "model", "name": "a"}] * 101}),
        '{"origins": [',
    ],
)
def test_a_damaged_file_is_told(tmp_path, text):
    folder = preset(tmp_path / "preset")
    (folder / ORIGINS_FILE).write_text(text)
    with pytest.raises(InputError, match=r"The file origins\.json of the preset .* again"):
        origins_of(folder, MODEL)


def test_a_strangers_words_stay_in_their_cell(tmp_path):
    origins = [{"part": "model", "name": "a | b\n\x1b[2J", "more": 1}]
    folder = preset(tmp_path / "preset")
    (folder / ORIGINS_FILE).write_text(json.dumps({"origins": origins}))
    (origin,) = read_origins(folder)
    *_, row = origins_section([origin]).splitlines()
    assert row == r"| model | a / b\n\x1b[2J | not stated: ask its source | | |"


def test_write_preset_writes_a_card_of_what_was_begun_from(tmp_path):
    segmenter = types.SimpleNamespace(
        count_params=lambda: 1,
        modalities=("xray",),
        save_to_preset=lambda folder: (folder / "config.json").write_text("{}"),
        backbone=types.SimpleNamespace(count_params=lambda: 1),
    )
    write_preset(segmenter, tmp_path / "run" / "preset", [LITE0, LITE0])
    assert read_origins(tmp_path / "run" / "preset") == [LITE0]
    card = (tmp_path / "run" / "preset" / "README.md").read_text()
    assert card.startswith("# run/preset\n") and "| EfficientNet-Lite0 | Apache-2.0 |" in card
    write_preset(segmenter, tmp_path / "random")
    assert [file.name for file in (tmp_path / "random").iterdir()] == ["config.json"]


def test_origins_of_a_configuration_are_checked():
    assert checked_origins([LITE0, LITE0._asdict(), {"name": "a"}], ENCODER) == (
        LITE0,
        LITE0,
        Origin(ENCODER, "a"),
    )
    assert checked_origins(None, ENCODER) == ()
    wrong = ("Lite0", LITE0, [3], [{"licence": "MIT"}], [{"name": 3}], [{"name": "a"}] * 101)
    for given in (*wrong, [{"name": "a", "license": "MIT"}]):
        with pytest.raises(InputError, match="for origins; expected a list of at most 100 dicts"):
            checked_origins(given, ENCODER)


def test_a_model_saved_from_python_says_what_its_encoder_was_begun_from(tmp_path):
    """Beside what stands in the folder already, whose card stays."""
    encoder = types.SimpleNamespace(origins=(LITE0,))
    backbone = types.SimpleNamespace(image_encoder=encoder)
    new, old = tmp_path / "new", tmp_path / "eyes"
    new.mkdir()
    write_own_origins(types.SimpleNamespace(backbone=backbone), new, old)
    assert read_origins(new) == [LITE0]
    assert (new / "README.md").read_text().startswith("# eyes\n")
    (new / "README.md").unlink()
    before = Origin(MODEL, "mine")
    write_own_origins(backbone, new, preset(old, before, LITE0, card="# Mine\n"))
    assert read_origins(new) == [before, LITE0]
    assert not (new / "README.md").exists()
