import importlib

import pytest

from keras_espmedsam.hub.origins import Origin, write_origins

LITE0 = Origin("image encoder", "EfficientNet-Lite0", "Apache-2.0")


@pytest.fixture
def card_origins(monkeypatch):
    monkeypatch.syspath_prepend("tools")
    return importlib.import_module("card_origins")


def test_a_card_names_what_others_published(card_origins, tmp_path):
    (tmp_path / "preset").mkdir()
    assert card_origins.with_origins("# A\n", tmp_path) == "# A\n"
    write_origins(tmp_path / "preset", [Origin("model", "labels/preset"), LITE0])
    assert card_origins.published_origins(tmp_path) == [LITE0]
    head, _, table = card_origins.with_origins("# A\n", tmp_path).partition("\n\n## Begun from\n")
    assert head == "# A"
    assert "EfficientNet-Lite0 | Apache-2.0" in table and "labels" not in table
