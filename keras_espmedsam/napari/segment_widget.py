"""The widget: choose layers, modality, target and threshold, and get labels layers."""

import functools
from typing import Any

from keras_espmedsam._startup import require
from keras_espmedsam.errors import InputError
from keras_espmedsam.inference.load_models import load_segmenter
from keras_espmedsam.napari.layer_masks import ALL, choices, segment_layer

DEFAULT_PRESET = "espmedsam_nano_256"
_load = functools.lru_cache(maxsize=2)(load_segmenter)
# Places of a layer that its labels share.
_PLACES = ("scale", "translate", "rotate", "shear", "affine", "units", "axis_labels")


def segment_widget(viewer: Any = None) -> Any:
    """Make the widget; napari calls this with its viewer.

    Args:
        viewer: `napari.Viewer`, or a `ViewerModel`; None for the current one.

    Returns:
        A `magicgui.widgets.Container`. Its `segment(layers)` segments layers at once and adds the
        result; the button does so in a thread.

    Raises:
        InputError: when napari is not installed.
    """
    require("napari", "The plugin for napari", "napari")
    from magicgui import widgets

    if viewer is None:
        import napari

        viewer = napari.current_viewer()

    preset = widgets.LineEdit(name="preset", value=DEFAULT_PRESET, tooltip=_PRESET_TOOLTIP)
    modality = widgets.ComboBox(name="modality", choices=list(choices(DEFAULT_PRESET)))
    target = widgets.ComboBox(name="target", choices=[ALL])
    threshold = widgets.FloatSlider(name="threshold", value=0.5, min=0.01, max=0.99, step=0.01)
    every = widgets.CheckBox(
        name="every", value=False, label="", text="all image layers, not the selected ones"
    )
    button = widgets.PushButton(name="button", label="", text="Segment")
    status = widgets.Label(
        name="status", label="", value="For research use only; not a medical device."
    )
    form = widgets.Container(
        widgets=[preset, modality, target, threshold, every, button, status], labels=True
    )
    form.name = "Segment medical images"

    def show_choices():
        known = choices(preset.value.strip())
        modality.choices = list(known)
        target.choices = list(known.get(modality.value, (ALL,)))

    preset.changed.connect(show_choices)
    modality.changed.connect(show_choices)

    def masks(work):
        """Compute the masks of layers one by one; in a thread, where no layer may be added."""
        segmenter = _load(work["preset"])
        for source, data, options in work["layers"]:
            yield source, segment_layer(segmenter, data, **options)

    def add(found):
        layer, result = found
        place = {name: getattr(layer, name) for name in _PLACES if hasattr(layer, name)}
        for name, labels in result.labels.items():
            title = f"{layer.name} {name}"
            for old in [one for one in viewer.layers if one.metadata.get("espmedsam") == title]:
                viewer.layers.remove(old)
            notes = {
                "espmedsam": title,
                "modality": result.modality,
                "confidence": result.confidence,
            }
            viewer.add_labels(labels, name=title, metadata=notes, **place)
        sure = "" if result.confidence is None else f" (recognised: {result.confidence:.2f})"
        status.value = f"{layer.name}: {result.modality}{sure}"

    def asked(layers=None):
        """Return what to do, read from the layers now, as they may change in the meantime."""
        if layers is None:
            layers = list(viewer.layers) if every.value else list(viewer.layers.selection)
        layers = [one for one in layers if type(one).__name__ == "Image"]
        if not layers:
            raise InputError("No image layer is selected; select one, or tick all image layers.")
        shared = {
            "modality": modality.value,
            "target": target.value,
            "threshold": threshold.value,
        }
        return {
            "preset": preset.value.strip(),
            "layers": [
                (
                    one,
                    one.data,
                    {**shared, "rgb": one.rgb, "limits": None if one.rgb else one.contrast_limits},
                )
                for one in layers
            ],
        }

    def segment(layers=None):
        for found in masks(asked(layers)):
            add(found)

    def told(work):
        """As `masks`, but give what is refused too: napari shows a raised error as a bug."""
        try:
            yield from masks(work)
        except InputError as error:
            yield error

    def show(found):
        if isinstance(found, InputError):
            status.value = str(found)
        else:
            add(found)

    def enable(*_):
        button.enabled = True

    def clicked():
        from napari.qt.threading import create_worker

        try:
            work = asked()
        except InputError as error:
            status.value = str(error)
            return
        button.enabled = False
        status.value = "Segmenting; the first time, the model is loaded."
        worker = create_worker(told, work)
        worker.yielded.connect(show)
        worker.errored.connect(enable)
        worker.finished.connect(enable)
        worker.start()

    button.clicked.connect(clicked)
    form.segment = segment
    return form


_PRESET_TOOLTIP = "A built-in preset, the folder of one, or an exported model such as eye.onnx"
