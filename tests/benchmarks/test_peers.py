"""Peers are trained within a budget, one after another, and compared on the same images."""

import importlib
import json
import types

import numpy as np
import pytest

from keras_espmedsam.errors import InputError
from tests.benchmarks.conftest import BENCHMARKS


@pytest.fixture
def module(monkeypatch):
    """Import one of benchmarks/peers, as its scripts do each other."""
    monkeypatch.syspath_prepend(BENCHMARKS / "peers")
    return importlib.import_module


class _Counter:
    """A network whose steps take two CPU seconds, and whose weight counts them."""

    suffix = ".json"

    def __init__(self, fails_at=None):
        self.weight = 0
        self.seconds = 0.0
        self.shares = []
        self.fails_at = fails_at

    def step(self, batch, share):
        self.weight += batch
        self.seconds += 2
        self.shares.append(share)
        if self.weight == self.fails_at:
            raise KeyboardInterrupt
        return 0.0

    def save(self, path):
        path.write_text(json.dumps(self.weight), encoding="utf-8")

    def load(self, path):
        self.weight = json.loads(path.read_text(encoding="utf-8"))

    def finish(self, folder):
        self.save(folder / "weights.json")


def _train(module, folder, network, seconds=20, every=6):
    return module("budgeted_training").train_within(
        seconds, folder, network, lambda step, share: 1, every, clock=lambda: network.seconds
    )


def test_training_ends_with_its_budget(module, tmp_path):
    network = _Counter()
    assert _train(module, tmp_path, network) == {"cpu_seconds": 20.0, "steps": 10}
    assert network.shares == pytest.approx(np.arange(10) / 10)
    # The last checkpoint, without those before it.
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "checkpoint-10.json",
        "training.json",
        "weights.json",
    ]


def test_an_interrupted_training_goes_on_from_its_checkpoint(module, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        _train(module, tmp_path, _Counter(fails_at=5))
    again = _Counter()
    # Steps 4 and 5 are lost, and so is their time.
    assert _train(module, tmp_path, again) == {"cpu_seconds": 20.0, "steps": 10}
    assert (again.weight, again.shares[0]) == (10, pytest.approx(0.3))
    assert _train(module, tmp_path, again) == {"cpu_seconds": 20.0, "steps": 10}


def test_the_rate_rises_and_falls_with_the_share_of_the_budget(module):
    factor = module("budgeted_training").rate_factor
    assert [factor(share, warmup=0.1) for share in (0, 0.05, 0.5, 1)] == pytest.approx(
        [0, 0.5 * (1 + np.cos(0.05 * np.pi)) / 2, 0.5, 0]
    )


def test_steps_that_fit_into_a_budget(module):
    share_within = module("labels_only").share_within
    # 10 seconds before the first step, 1,000 for all steps.
    points = [[0.01, 20.0], [0.03, 40.0]]
    assert share_within(510, points, margin=1) == pytest.approx(0.5)
    with pytest.raises(InputError, match="takes 10 before its first step"):
        share_within(5, points)


@pytest.mark.parametrize("kind", ["PretrainedLite", "RandomTinyViT"])
def test_our_trainings_are_valid_for_any_share_of_the_steps(module, tmp_path, monkeypatch, kind):
    pytest.importorskip("pydantic")
    pytest.importorskip("yaml")
    from keras_espmedsam.training.config.settings import load_settings
    from keras_espmedsam.training.config.train_config import TrainConfig

    monkeypatch.setenv("ESPMEDSAM_LITE0", str(tmp_path))
    (tmp_path / "index.csv").touch()
    data = module("peer_data").PeerData(tmp_path / "index.csv")
    peer = getattr(module("labels_only"), kind)()
    changes = peer._changes(data, tmp_path / "run", 0.5, 3)
    given = [f"{key}={json.dumps(value)}" for key, value in changes.items()]
    config = load_settings(TrainConfig, module("peer_data").CONFIG, given)
    assert [phase.epochs for phase in config.phases] == [1, 2]
    # As many as the configuration's, which the timing assumes.
    whole = data.config.phases
    assert [phase.epochs * phase.steps for phase in config.phases] == [
        pytest.approx(0.5 * phase.epochs * phase.steps, abs=2) for phase in whole
    ]
    frozen = [phase.batch_norm for phase in config.phases]
    assert frozen == (["train", "frozen"] if kind == "PretrainedLite" else ["train", "train"])
    assert config.phases[1].optimizer.ema_momentum == 0.99
    assert config.model.targets is None
    assert config.data.sources[0].targets["fundus"] == ["vessels"]
    assert (config.seed, config.output) == (3, tmp_path / "run")


def test_specialists_share_the_steps_of_the_training_of_all_modalities(module):
    shares = module("labels_only").shares_of_modalities({"fundus": 3.0, "drive": 9.0})
    assert shares["fundus"] == pytest.approx(3 / 8)
    assert sum(shares.values()) == pytest.approx(1)


def test_every_peer_says_what_the_report_needs(module):
    table = module("peer_table")
    for name in table.PEERS:
        peer = table.make_peer(name)
        assert peer.title
        assert peer.changed
        assert peer.licence
        assert bool(peer.modules) == bool(peer.install)
    with pytest.raises(InputError, match="Unknown peer unet; did you mean nnunet"):
        table.make_peer("unet")


def test_packages_that_are_missing_are_named(module):
    peer = types.SimpleNamespace(title="U-Net", modules=("json", "no_such"), install="no-such")
    with pytest.raises(InputError, match=r"U-Net needs no_such, which .* `pip install no-such`"):
        module("peer").check_modules(peer)


def test_peers_run_one_after_another_and_resume(module, tmp_path):
    compare = module("compare")
    called = []

    def call(argv, env):
        step, name = argv[2:4]
        called.append((step, name, env["KERAS_BACKEND"], env["OMP_NUM_THREADS"]))
        folder = compare.folder_of(tmp_path, 60, 1, name)
        folder.mkdir(parents=True, exist_ok=True)
        if step == "train" and name == "deeplab":
            return types.SimpleNamespace(returncode=3)
        if step != "prepare":
            end = compare.TRAINED if step == "train" else compare.RESULT
            (folder / end).write_text('{"peer": "x"}', encoding="utf-8")
        return types.SimpleNamespace(returncode=0)

    arguments = (compare.STEPS["run"], ["deeplab", "nnunet"], tmp_path, 60, 1, None, call)
    assert compare.run(*arguments) == {"deeplab": "train ended with status 3"}
    assert called == [
        ("prepare", "deeplab", "tensorflow", "1"),
        ("train", "deeplab", "tensorflow", "1"),
        ("prepare", "nnunet", "torch", "1"),
        ("train", "nnunet", "torch", "1"),
        ("measure", "nnunet", "torch", "1"),
    ]
    del called[:]
    compare.run(*arguments)
    assert [one[:2] for one in called] == [("prepare", "deeplab"), ("train", "deeplab")]
    assert compare.read_results(tmp_path, 60, 1, ["deeplab", "nnunet"]) == {"nnunet": {"peer": "x"}}
    measure = (compare.STEPS["measure"], ["deeplab"], tmp_path, 60, 1, None, call)
    assert compare.run(*measure) == {"deeplab": "it is not trained yet"}


def test_libraries_of_their_own_run_with_their_own_python(module, tmp_path):
    compare = module("compare")
    programs = {
        name: compare.command_of("train", name, tmp_path, 60, 0, "/peers/python")[0][0]
        for name in ("nnunet", "deeplab")
    }
    assert programs["nnunet"] == "/peers/python"
    assert programs["deeplab"] != "/peers/python"


def _result(title, dice):
    """The result of a peer: of each image its split, modality, data set, group and Dice."""
    rows = [
        ("unseen", "colonoscopy", "colondb", "seq1", "1.png"),
        ("unseen", "colonoscopy", "colondb", "seq1", "2.png"),
        ("unseen", "colonoscopy", "colondb", "seq2", "3.png"),
        ("unseen", "colonoscopy", "etis", "", "4.png"),
        ("unseen", "xray", "montgomery", "", "5.png"),
    ]
    names = ("split", "modality", "dataset", "group", "image")
    images = [
        {**dict(zip(names, row, strict=True)), "dice": one}
        for row, one in zip(rows, dice, strict=True)
    ]
    return {
        **{"title": title, "changed": "nothing", "augmentation": "ours", "licence": "MIT"},
        **{"parameters": 5e6, "cpu_seconds": 60.0, "steps": 7, "budget": 60, "seed": 0},
        **{"machine": "x86_64", "images": images},
    }


OURS = (0.9, 0.7, 0.8, 0.6, 1.0)
OTHER = (0.8, 0.6, 0.3, 0.5, 0.9)


def test_means_and_differences_by_hand(module):
    report = module("peers_report")
    ours, other = (_result("x", dice)["images"] for dice in (OURS, OTHER))
    means = report.set_means(ours, "unseen")
    assert means == {
        "colonoscopy": {"colondb": pytest.approx(0.8), "etis": pytest.approx(0.6)},
        "xray": {"montgomery": pytest.approx(1.0)},
    }
    assert report.mean_of_modalities(means) == pytest.approx(0.85)
    value, low, high = report.paired(ours, other, "unseen")
    # colondb 0.7 / 3, etis and montgomery 0.1.
    assert value == pytest.approx(((0.7 / 3 + 0.1) / 2 + 0.1) / 2)
    # Either sequence may be drawn twice, and its images stay together.
    assert (low, high) == pytest.approx((0.1, ((0.5 + 0.1) / 2 + 0.1) / 2))
    assert report.paired(ours, ours, "unseen") == (0, 0, 0)
    with pytest.raises(ValueError, match="different images of unseen"):
        report.paired(ours, other[:-1], "unseen")


def test_a_set_of_one_sequence_counts_image_by_image(module):
    images = _result("x", OURS)["images"][:2]
    other = [{**one, "dice": 0.5} for one in images]
    _, low, high = module("peers_report").paired(images, other, "unseen")
    assert (low, high) == pytest.approx((0.2, 0.4))


def test_the_report_shows_who_is_ahead(module, tmp_path):
    report = module("peers_report")
    report.write(tmp_path, {"smp_unet": _result("U-Net", OTHER), "ours": _result("ours", OURS)})
    text = (tmp_path / "peers.md").read_text(encoding="utf-8")
    assert "| Dice | xray | colonoscopy | mean | ours minus this |" in text
    assert "| U-Net | 0.900 | 0.533 | 0.717 | +0.133 [+0.100, +0.200] |" in text
    assert "| ours | 1.000 | 0.700 | 0.850 |  |" in text
    assert "| montgomery | xray | 0.900 | 1.000 |" in text
    assert "| U-Net | 5.00 M | 60 | 7 | ours | nothing | MIT |" in text
    stored = json.loads((tmp_path / "peers.json").read_text(encoding="utf-8"))
    assert [one["dice"] for one in stored["smp_unet"]["images"]] == list(OTHER)


def test_weights_of_the_package_get_timms_names(module):
    names = module("lite_weights").timm_names(
        {
            "_conv_stem.weight": 1,
            "_bn0.running_mean": 2,
            "_blocks.0._project_conv.weight": 3,
            "_blocks.2._bn0.bias": 4,
            "_blocks.15._bn2.weight": 5,
            "_conv_head.weight": 6,
            "_fc.bias": 7,
        }
    )
    assert names == {
        "conv_stem.weight": 1,
        "bn1.running_mean": 2,
        "blocks.0.0.conv_pw.weight": 3,
        "blocks.1.1.bn1.bias": 4,
        "blocks.6.0.bn3.weight": 5,
    }
