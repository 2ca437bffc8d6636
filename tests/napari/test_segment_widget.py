"""The widget in napari, without a window: `make test-napari` installs napari and runs this."""

import numpy as np
import pytest

pytest.importorskip("napari", reason="napari is not installed: make test-napari")
pytest.importorskip("pytestqt", reason="pytest-qt is not installed: make test-napari")

from napari.components import ViewerModel

from keras_espmedsam.errors import InputError
from keras_espmedsam.napari import segment_widget as room
from tests.napari.test_layer_masks import Segmenter


@pytest.fixture
def viewer():
    return ViewerModel()


@pytest.fixture
def widget(qtbot, viewer, monkeypatch):
    monkeypatch.setattr(room, "_load", lambda preset: Segmenter())
    made = room.segment_widget(viewer)
    qtbot.addWidget(made.native)
    return made


def test_the_choices_follow_the_preset(widget):
    assert "auto" in widget.modality.choices and "fundus" in widget.modality.choices
    widget.modality.value = "fundus"
    assert widget.target.choices[:3] == ("all", "vessels", "optic_disc")
    widget.preset.value = "nowhere"
    assert widget.modality.choices == ("auto",) and widget.target.choices == ("all",)


def test_labels_lie_where_the_image_does(viewer, widget):
    data = np.zeros((3, 8, 9), "uint8")
    data[1, 2:4] = 250
    place = {"scale": (5, 0.5, 0.25), "translate": (10, 2, 3)}
    viewer.add_image(data, name="scan", contrast_limits=(0, 255), **place)
    widget.modality.value = "xray"
    widget.segment([viewer.layers["scan"]])
    labels = viewer.layers["scan lungs"]
    assert type(labels).__name__ == "Labels"
    assert np.array_equal(labels.data, data // 250)
    assert tuple(labels.scale) == place["scale"] and tuple(labels.translate) == place["translate"]
    assert labels.metadata["modality"] == "xray"
    widget.threshold.value = 0.99  # A second run takes the place of the first.
    widget.segment([viewer.layers["scan"]])
    assert [one.name for one in viewer.layers] == ["scan", "scan lungs"]
    assert not viewer.layers["scan lungs"].data.any()


def test_the_button_works_in_a_thread_on_selected_or_all_layers(qtbot, viewer, widget):
    viewer.add_image(np.full((4, 5), 200.0), name="first", contrast_limits=(0, 100))
    viewer.add_image(np.zeros((4, 5, 3), "uint8"), name="second", rgb=True)
    viewer.add_labels(np.zeros((4, 5), "uint8"), name="drawn")
    widget.modality.value = "xray"
    viewer.layers.selection = {viewer.layers["drawn"]}
    widget.button.changed.emit(True)
    assert "No image layer is selected" in widget.status.value
    with pytest.raises(InputError):
        widget.segment()
    widget.every.value = True
    widget.button.changed.emit(True)
    assert not widget.button.enabled
    qtbot.waitUntil(lambda: widget.button.enabled, timeout=10_000)
    names = {one.name for one in viewer.layers}
    assert names == {"first", "second", "drawn", "first lungs", "second lungs"}
    assert viewer.layers["first lungs"].data.all()
    assert not viewer.layers["second lungs"].data.any()


def test_what_is_refused_is_said_in_the_widget(qtbot, viewer, widget, monkeypatch):
    def refuse(preset):
        raise InputError("There is no preset 'nowhere'.")

    monkeypatch.setattr(room, "_load", refuse)
    viewer.add_image(np.zeros((4, 5)), name="first")
    widget.button.changed.emit(True)
    qtbot.waitUntil(lambda: widget.button.enabled, timeout=10_000)
    assert widget.status.value == "There is no preset 'nowhere'."
