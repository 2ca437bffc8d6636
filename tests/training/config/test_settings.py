"""Configurations: what is refused, and with which words. Without Keras."""

import re
from pathlib import Path

import pytest
from PIL import Image

from keras_espmedsam.distillation.config import DistillConfig
from keras_espmedsam.errors import InputError
from keras_espmedsam.registries import image_encoders, losses
from keras_espmedsam.training.config.data_settings import DataSettings
from keras_espmedsam.training.config.settings import Settings, load_settings
from keras_espmedsam.training.config.train_config import TrainConfig
from keras_espmedsam.training.data.read_sources import read_sources

EXAMPLES = Path(__file__).resolve().parents[3] / "examples" / "configs"
SOURCE = {"folder": ".", "modality": "xray"}
TRAIN = {
    "output": "run",
    "model": {"preset": "tiny"},
    "data": {"sources": [{"folder": ".", "modality": "xray"}]},
    "phases": [{"epochs": 2}],
}


def changed(config, path, value):
    key, _, rest = path.partition(".")
    if isinstance(config, list):
        config = list(config)
        config[int(key)] = changed(config[int(key)], rest, value) if rest else value
        return config
    return {**config, key: changed(config.get(key, {}), rest, value) if rest else value}


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("phaes", [], "unknown key phaes; did you mean phases? Known keys: output, seed"),
        ("phases.0.epoch", 3, "unknown key phases.0.epoch; did you mean epochs? Known keys: name"),
        ("data.sources.0.maks", "x", "unknown key data.sources.0.maks; did you mean masks or"),
        ("phases.0.epochs", "ten", "phases.0.epochs: 'ten'; expected a valid integer"),
        ("phases.0.epochs", True, "phases.0.epochs: True"),
        ("phases.0.epochs", 0, "phases.0.epochs: 0; expected greater than or equal to 1"),
        ("phases", [], "phases: []; expected"),
        ("phases.0.parts", ["decodr"], "the part decodr is unknown; did you mean decoder"),
        ("phases.0.learning_rate", {"schedule": "cos"}, "expected 'constant', 'exponential' or"),
        ("phases.0.learning_rate", {"warmup_steps": 5}, "warmup_steps belongs to schedule: cosine"),
        ("phases.0.optimizer", {"momentum": 0.9}, "momentum belongs to sgd"),
        ("phases.0.optimizer", {"clipnorm": 1, "global_clipnorm": 1}, "not both"),
        ("phases.0.name", "a/b", "phases.0.name: 'a/b'"),
        ("precision", "float64", "precision: 'float64'; expected 'float32', 'mixed_bfloat16' or"),
        ("model", {"preset": "a", "encoder": {"kind": "tic"}}, "give either preset or encoder"),
        ("model", {}, "give either preset or encoder"),
        ("model", {"preset": "a", "modalities": ["x"]}, "a preset brings its own modalities"),
        ("model", {"encoder": {"kind": "tic"}, "modalities": []}, "model.modalities: []"),
        ("model", {"encoder": {"kind": "vgg"}}, "model.encoder.kind: 'vgg'; expected 'tiny_vit'"),
        ("model", {"encoder": {"kind": "tiny"}}, "did you mean tiny_vit?"),
        ("phases.0.loss", "Dice", "phases.0.loss: 'Dice'; expected 'standard', 'published', 'Di"),
        ("phases.0.loss", "DiceLos", "did you mean DiceLoss or"),
        ("phases.0.loss", {"name": "Dice"}, "phases.0.loss: {'name': 'Dice'}; expected 'standard"),
        ("phases.0.loss", {"gamma": 2}, "expected a name, or its name and arguments: {name: NAME,"),
        ("phases.0.loss", 3, "phases.0.loss: 3; expected a name, or its name and arguments"),
        ("phases.0.loss", None, "phases.0.loss: None; expected a name"),
        ("data.sources.0", {"folder": "nowhere"}, "nowhere does not exist"),
        ("data.sources.0", {"index": "pyproject.toml", "group": "x"}, "group does not go with"),
        ("data.sources.0", {"modality": "xray"}, "give one of index, folder and splits"),
        ("data.sources", [], "data.sources: []"),
        (
            "appearance",
            "strong",
            "Received 'strong' for the appearance; expected standard, none, or",
        ),
        (
            "appearance",
            {"jpg": 0.2},
            "the appearance transform 'jpg'; expected one of fourier_mixi",
        ),
        ("appearance", {"gamma": "a"}, "Received 'a' for the appearance transform gamma; expected"),
        ("appearance", {"gamma": {"x": 2}}, "Received x for the appearance transform gamma; expe"),
        ("phases.0.appearance", {"gamma": 2}, "Received probability=2 for the appearance transf"),
        ("data.balance", "image", "Received balance='image'; expected one of dataset, modality, t"),
        ("data.balance", ["dataset", "modality"], "in the order modality, dataset, target, such"),
        ("data.balance", [], "expected each once"),
    ],
)
def test_what_cannot_be_used_is_told_in_a_sentence(path, value, words, monkeypatch):
    monkeypatch.chdir(EXAMPLES.parents[1])
    with pytest.raises(InputError, match=re.escape(words)) as error:
        load_settings(TrainConfig, changed(TRAIN, path, value))
    assert len(str(error.value).splitlines()) == 1
    assert "pydantic" not in str(error.value) and "Input should" not in str(error.value)


@pytest.mark.parametrize("loss", losses)
def test_every_loss_can_be_chosen(loss):
    chosen = [loss, {"name": loss}, {"name": loss, "name_of_an_argument": 1.5}]
    for given in chosen:
        (phase,) = load_settings(TrainConfig, changed(TRAIN, "phases.0.loss", given)).phases
        assert phase.loss == (given if given is chosen[2] else loss)


@pytest.mark.parametrize("encoder", image_encoders)
def test_every_encoder_can_be_chosen(encoder):
    config = changed(TRAIN, "model", {"encoder": {"kind": encoder}})
    assert load_settings(TrainConfig, config).model.encoder.kind == encoder


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("appearance", "standard"),
        ("appearance", {"fourier_mixing": 0.5, "jpeg": {"quality": [40, 90]}}),
        ("data.balance", ["modality", "dataset"]),
        ("data.balance", None),
    ],
)
def test_a_run_that_is_resumed_reads_what_was_written(path, value):
    loaded = load_settings(TrainConfig, changed(TRAIN, path, value))
    assert load_settings(TrainConfig, loaded.model_dump(mode="json", exclude_unset=True)) == loaded
    for key in path.split("."):
        loaded = getattr(loaded, key)
    assert loaded == value


def test_weights_of_data_sets_that_are_left_out_do_not_count():
    config = changed(TRAIN, "data.weights", {"a": 2, "b": 3})
    config = load_settings(TrainConfig, changed(config, "data.exclude_datasets", ["b"]))
    assert config.phases[0].weights_of(config.data) == {"a": 2}


def test_weights_that_no_phase_draws_by_are_refused():
    weighted = changed(TRAIN, "data.weights", {"a": 2})
    assert load_settings(TrainConfig, weighted).data.weights == {"a": 2}
    with pytest.raises(InputError, match=r"data.weights change how images are drawn, but"):
        load_settings(TrainConfig, changed(weighted, "phases.0.steps", None))
    mixed = changed(weighted, "phases", [{"steps": None}, {"steps": 5}])
    assert load_settings(TrainConfig, mixed).data.weights == {"a": 2}


def test_a_missing_key_is_named():
    with pytest.raises(InputError, match="lacks the key output; add it"):
        load_settings(TrainConfig, {key: TRAIN[key] for key in ("model", "data", "phases")})


def test_yaml_that_repeats_itself(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(
        "output: run\nmodel: {preset: tiny}\ndata: {sources: [{folder: ., modality: xray}]}\n"
        "phases:\n- &first {epochs: 2, steps: 5}\n- {<<: *first, epochs: 3}\n"
    )
    phases = load_settings(TrainConfig, path).phases
    assert [(phase.epochs, phase.steps) for phase in phases] == [(2, 5), (3, 5)]
    path.write_text("output: {{ folder }}\n")
    with pytest.raises(InputError, match="is not YAML in line 1"):
        load_settings(TrainConfig, path)


def test_overrides_change_values_within_lists():
    loaded = load_settings(
        TrainConfig,
        TRAIN,
        ["phases.0.epochs=7", "phases.0.learning_rate.rate=3e-4", "phases.0.modalities=[xray]"],
    )
    phase = loaded.phases[0]
    assert (phase.epochs, phase.learning_rate.rate, phase.modalities) == (7, 3e-4, ["xray"])
    assert load_settings(TrainConfig, loaded, [("output", "a: b")]).output == Path("a: b")
    assert TRAIN["phases"][0]["epochs"] == 2


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("epochs", "expected KEY=VALUE"),
        ("phases.1.epochs=3", "there is no 1 in a list of 1"),
        ("phases.first.epochs=3", "there is no first in a list"),
        ("seed=[", "is not YAML"),
        ("sed=1", "unknown key sed; did you mean seed?"),
    ],
)
def test_overrides_that_cannot_be_used_are_told(override, words):
    with pytest.raises(InputError, match=re.escape(words)):
        load_settings(TrainConfig, TRAIN, [override])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("output: [", "is not YAML in line"),
        ("seed: 1\nseed: 2\n", "is not YAML in line 2: the key seed occurs twice"),
        ("just words", "holds no keys"),
        ("", "holds no keys"),
    ],
)
def test_a_file_that_is_no_configuration_is_told(tmp_path, text, words):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=re.escape(words)) as error:
        load_settings(TrainConfig, path)
    assert str(path) in str(error.value)
    with pytest.raises(InputError, match="does not exist"):
        load_settings(TrainConfig, tmp_path / "none.yaml")


def test_numbers_with_exponents_are_numbers(tmp_path):
    class Number(Settings):
        rate: object

    path = tmp_path / "config.yaml"
    for text, value in (("1e-3", 1e-3), ("2E5", 2e5), ("3.e2", 300.0), ("1e", "1e")):
        path.write_text(f"rate: {text}\n")
        assert load_settings(Number, path).rate == value


def all_keys(settings_class, found=None):
    """Names of the keys of a configuration and of all sections in it."""
    found = set() if found is None else found
    for name, field in settings_class.model_fields.items():
        found.add(name)
        for inner in sections(field.annotation):
            all_keys(inner, found)
    return found


def sections(annotation):
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        return [annotation]
    return [one for part in getattr(annotation, "__args__", ()) for one in sections(part)]


@pytest.mark.parametrize(
    ("name", "settings_class"), [("train", TrainConfig), ("distill", DistillConfig)]
)
def test_the_examples_explain_every_key_and_are_valid(name, settings_class, tmp_path, monkeypatch):
    text = (EXAMPLES / f"{name}.yaml").read_text()
    keys = all_keys(settings_class)
    assert len(keys) > 40
    explained = set(re.findall(r"(?:^|[\s{#-])(\w+):", text))
    assert keys - explained == set()
    # In a folder that has what it names.
    monkeypatch.chdir(tmp_path)
    for path in re.findall(r"(?:index|folder|file): ([\w./]+)", text):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).touch()
    load_settings(settings_class, EXAMPLES / f"{name}.yaml")


def test_paths_of_data_may_hold_variables_of_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("IMAGES", str(tmp_path))
    config = changed(TRAIN, "data.sources.0.folder", "$IMAGES")
    assert load_settings(TrainConfig, config).data.sources[0].folder == tmp_path
    monkeypatch.delenv("IMAGES")
    with pytest.raises(
        InputError, match=r"\$IMAGES names an environment variable .*that is not set"
    ):
        load_settings(TrainConfig, config)


@pytest.mark.parametrize("value", [[0, 4095], "0:4095"])
def test_black_and_white_as_a_list_or_in_quotes(tmp_path, value):
    settings = load_settings(DataSettings, {"sources": [SOURCE], "intensity": value})
    assert settings.intensity == (0.0, 4095.0)
    # As a run's config.yaml holds it.
    held = settings.model_dump(mode="json", exclude_unset=True)
    assert load_settings(DataSettings, held) == settings


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (6045, "as a list, \\[0, 4095\\], or as '0:4095' in quotes"),
        ("dark", "expected 'auto', 'full'"),
    ],
)
def test_what_says_nothing_of_black_and_white(value, message):
    """YAML takes 100:45 for a number of minutes and seconds."""
    with pytest.raises(InputError, match=message):
        load_settings(DataSettings, {"sources": [SOURCE], "intensity": value})


def test_what_is_said_of_a_source_goes_before_what_is_said_of_all(tmp_path):
    Image.new("L", (4, 4)).save(tmp_path / "a.png")
    header = "split,modality,dataset,image,mask,intensity"
    rows = ["train,xray,d,a.png,a.png,", "val,xray,d,a.png,a.png,full"]
    (tmp_path / "index.csv").write_text("\n".join([header, *rows]))
    settings = {"sources": [{"index": tmp_path / "index.csv"}], "intensity": [0, 1023]}
    found = read_sources(load_settings(DataSettings, settings))
    assert found["train"][0].intensity == (0.0, 1023.0)
    assert found["val"][0].intensity == "full"
    settings["sources"][0]["intensity"] = [0, 4095]
    found = read_sources(load_settings(DataSettings, settings))
    assert found["train"][0].intensity == (0.0, 4095.0)


def test_a_folders_masks_may_be_taken_together(tmp_path):
    for name in ("images/1.png", "masks/1_mask.png", "masks/1_mask_1.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("L", (4, 4)).save(tmp_path / name)
    source = {"folder": tmp_path, "modality": "ultrasound"}
    settings = {"sources": [source], "val_splits": []}
    with pytest.raises(InputError, match="merge_masks: true in a configuration"):
        read_sources(load_settings(DataSettings, settings))
    source["merge_masks"] = True
    (record,) = read_sources(load_settings(DataSettings, settings))["train"]
    assert [path.name for path in (record.mask, *record.other_masks)] == [
        "1_mask.png",
        "1_mask_1.png",
    ]
