import sys
import types
from pathlib import Path

import pytest

from keras_espmedsam.cli import convert, presets
from keras_espmedsam.errors import InputError
from keras_espmedsam.hub.checksums import write_checksums


@pytest.fixture
def conversions(monkeypatch):
    """Replace the conversion functions by ones that note their arguments."""
    calls = []

    def convert_espmedsam(paths, modalities, output, resize_mode="stretch"):
        if len(paths) != len(modalities):
            raise InputError(f"Received {len(modalities)} modalities for {len(paths)} files.")
        calls.append((paths, modalities, output, resize_mode))
        return ["Ignored 3 teacher tensors.", f"Wrote the preset {output}."]

    def convert_mobilesam(path, output):
        calls.append((path, output))
        return []

    def convert_sam(source, output, image_size, num_tokens, adapter):
        calls.append((source, output, image_size, num_tokens, adapter))
        return ["Recognised ViT-B."]

    module = types.ModuleType("keras_espmedsam.converters")
    module.convert_espmedsam, module.convert_mobilesam = convert_espmedsam, convert_mobilesam
    module.convert_sam = module.convert_keras_hub_sam = convert_sam
    module.convert_efficientnet_lite = lambda *arguments: calls.append(arguments) or ["Recognised."]
    monkeypatch.setitem(sys.modules, "keras_espmedsam.converters", module)
    monkeypatch.setattr(convert, "import_segmenter_class", lambda: None)
    return calls


@pytest.fixture
def checkpoints(run):
    for name in ("a.pth", "b.pth"):
        Path(name).write_bytes(b"weights")


def test_presets(run, monkeypatch):
    nano = {"metadata": {"description": "A small one.", "params": 5_678_901}, "weights": True}
    big = {"metadata": {"description": "A big one.", "params": 28_182_737}, "weights": False}
    known = {
        "nano": {**nano, "version": 2},
        "nano@1": {**nano, "version": 1},
        "big": {**big, "version": 1},
    }
    monkeypatch.setattr(presets, "builtin_presets", lambda earlier: known if earlier else {})
    result = run("presets")
    assert result.exit_code == 0
    lines = {line.split()[0]: line for line in result.stdout.splitlines() if line.split()}
    assert "5,678,901" in lines["nano"]
    assert "yes" in lines["nano"]
    assert lines["nano"].split()[1] == "2" and lines["nano@1"].split()[1] == "1"
    assert "A small one." in lines["nano"]
    assert "no" in lines["big"].split()


def test_the_card_of_a_preset(run, tmp_path):
    result = run("presets", "espmedsam_nano_256")
    assert result.exit_code == 0, result.output
    for words in ("Research use only", "cvc_clinicdb", "Checksums: correct."):
        assert words in result.stdout
    assert "library_name" not in result.stdout
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    assert "has no card" in run("presets", folder).stderr
    (folder / "README.md").write_text("# Mine\n")
    assert "no SHA256SUMS" in run("presets", folder).stdout
    write_checksums(folder)
    (folder / "config.json").write_text("[]")
    result = run("presets", folder)
    assert result.exit_code == 2
    assert "config.json" in result.stderr and "damaged or changed" in result.stderr
    assert "espmedsam_nano_256" in run("presets", "espmedsam_nona_256").stderr


def test_the_card_of_a_stranger(run, tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    card = b"---\r\nlicense: x\r\n---\r\n# A \x1b[2J\x9b card \xff\r\n[here](https://example.org/x)"
    (folder / "README.md").write_bytes(card)
    (folder / "SHA256SUMS").write_text("")
    result = run("presets", folder)
    assert result.exit_code == 2 and "does not name config.json" in result.stderr
    write_checksums(folder)
    result = run("presets", folder)
    assert result.exit_code == 0, result.output
    assert "\x1b" not in result.stdout and r"\x1b[2J" in result.stdout
    assert "https://example.org/x" in result.stdout and "license" not in result.stdout
    assert result.stdout.endswith("Checksums: correct.\n")
    (folder / "report.json").write_text("{}")
    assert run("presets", folder).stdout.endswith(
        "Checksums: correct, but not listed for report.json.\n"
    )


def test_convert_espmedsam(run, checkpoints, conversions):
    result = run(
        *("convert", "espmedsam", "a.pth", "b.pth", "--modality", "fundus", "--modality", "xray"),
        *("--output", "both"),
    )
    assert result.exit_code == 0, result.output
    files = [Path("a.pth"), Path("b.pth")]
    assert conversions == [(files, ["fundus", "xray"], Path("both"), "stretch")]
    assert result.stdout == "Ignored 3 teacher tensors.\nWrote the preset both.\n"
    assert result.stderr == ""


def test_resize_mode_is_passed_on(run, checkpoints, conversions):
    result = run(
        *("convert", "espmedsam", "a.pth", "--modality", "xray", "--output", "o"),
        *("--resize-mode", "pad"),
    )
    assert result.exit_code == 0, result.output
    assert conversions == [([Path("a.pth")], ["xray"], Path("o"), "pad")]


def test_convert_mobilesam(run, checkpoints, conversions):
    assert run("convert", "mobilesam", "a.pth", "--output", "mine").exit_code == 0
    assert conversions == [(Path("a.pth"), Path("mine"))]


def test_convert_sam(run, checkpoints, conversions):
    result = run("convert", "sam", "a.pth", "--output", "teacher")
    assert result.exit_code == 0, result.output
    assert result.stdout == "Recognised ViT-B.\n"
    options = ("--image-size", "512", "--tokens", "0", "--no-adapter")
    assert run("convert", "keras-hub", "sam_base", "--output", "t", *options).exit_code == 0
    assert conversions == [
        (Path("a.pth"), Path("teacher"), None, 10, True),
        ("sam_base", Path("t"), 512, 0, False),
    ]


def test_convert_efficientnet_lite(run, checkpoints, conversions):
    result = run("convert", "efficientnet-lite", "a.pth", "--output", "lite0")
    assert (result.exit_code, result.stdout) == (0, "Recognised.\n")
    run("convert", "efficientnet-lite", "b.pth", "--output", "lite1", "--classifier")
    assert conversions == [
        (Path("a.pth"), Path("lite0"), False),
        (Path("b.pth"), Path("lite1"), True),
    ]


def test_errors_of_the_conversion(run, checkpoints, conversions):
    result = run("convert", "espmedsam", "a.pth", "b.pth", "--modality", "xray", "--output", "o")
    assert result.exit_code == 2
    assert result.stderr.strip() == "error: Received 1 modalities for 2 files."


@pytest.mark.parametrize(
    "arguments",
    [
        ("mobilesam", "a.pth"),
        ("mobilesam", "--output", "o"),
        ("espmedsam", "a.pth", "--output", "o"),
    ],
)
def test_wrong_usage(run, checkpoints, conversions, arguments):
    result = run("convert", *arguments)
    assert result.exit_code == 2
    assert "Missing" in result.stderr
    assert conversions == []


def test_the_real_functions_refuse_what_cannot_be_used(run, checkpoints, monkeypatch):
    """Through the command line, each in one sentence, and before any model is built."""
    monkeypatch.setattr(convert, "import_segmenter_class", lambda: None)
    Path("full").mkdir()
    Path("full/precious.txt").touch()
    for arguments, word in (
        (("espmedsam", "a.pth", "--modality", "mri", "--output", "o"), "mri"),
        (("espmedsam", "a.pth", "b.pth", "--modality", "xray", "--output", "o"), "2 checkpoints"),
        (("espmedsam", "a.pth", "--modality", "xray", "--output", "full"), "not empty"),
        (
            ("espmedsam", "a.pth", "--modality", "xray", "--output", "o", "--resize-mode", "crop"),
            "resize_mode='crop'",
        ),
        (("mobilesam", "a.pth", "--output", "a.pth"), "is a file"),
        (("sam", "a.pth", "--output", "o"), "is not a PyTorch checkpoint"),
        (("efficientnet-lite", "a.pth", "--output", "full"), "not empty"),
    ):
        result = run("convert", *arguments)
        assert result.exit_code == 2, result.output
        assert result.stderr.startswith("error: ")
        assert word in result.stderr
        assert len(result.stderr.splitlines()) == 1
    assert [file.name for file in Path("full").iterdir()] == ["precious.txt"]
