"""The page for browsers in Chromium: its masks are Python's, and it asks nothing of the network."""

import io
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from keras_espmedsam.data import Targets, read_images
from keras_espmedsam.export.formats import web
from keras_espmedsam.imaging.placement import Placement
from keras_espmedsam.inference.chosen_targets import choose_targets
from keras_espmedsam.inference.target_masks import ImageMaps

pytest.importorskip("selenium", reason="selenium drives the browser")
onnx = pytest.importorskip("onnx")
pydicom = pytest.importorskip("pydicom")
pytestmark = [
    pytest.mark.skipif(
        not shutil.which("chromium") or not shutil.which("chromedriver"),
        reason="Chromium is not installed (Debian: apt-get install chromium chromium-driver)",
    ),
    pytest.mark.skipif(
        not (web._SOURCE / "dist" / "index.html").is_file(),
        reason="the page is not built (examples/browser: npm ci && npm run build)",
    ),
]
TARGETS = Targets(
    {"eye": ("disc", "artery", "vein"), "slide": ("nuclei",), "skin": ("mask",)},
    exclusive={"eye": [("vein", "artery")]},
    instances={"slide": {"nuclei": "core"}},
)
RULES = {
    "eye": {"disc": {"fill_holes": True, "max_objects": 1}},
    "slide": {"nuclei": {"min_area": 12, "fill_holes": True}},
}
CALIBRATION = {"eye": {"artery": {"temperature": 2.0}, "vein": {"temperature": 0.5, "bias": 0.2}}}
MEAN = (123.675, 116.28, 103.53)
SIDE = 64


def _model(outputs, nodes):
    """An ONNX model whose probabilities are the image's colours; scores are of the modality."""
    helper, kind = onnx.helper, onnx.TensorProto
    inputs = [
        helper.make_tensor_value_info("images", kind.FLOAT, [1, SIDE, SIDE, 3]),
        helper.make_tensor_value_info("modalities", kind.INT32, [1]),
    ]
    constants = [
        helper.make_tensor("white", kind.FLOAT, [], [255.0]),
        helper.make_tensor("shares", kind.FLOAT, [3], [0.25, 0.5, 2.0]),
    ]
    nodes = [
        helper.make_node("Div", ["images", "white"], ["brightness"]),
        helper.make_node("ReduceMean", ["brightness"], ["mean"], axes=[1, 2], keepdims=0),
        *[helper.make_node(name, inputs, [output]) for name, inputs, output in nodes],
    ]
    found = [helper.make_tensor_value_info(name, kind.FLOAT, None) for name in outputs]
    read = {name for node in nodes for name in node.input}
    graph = helper.make_graph(nodes, "g", [one for one in inputs if one.name in read], found)
    graph.initializer.extend(one for one in constants if one.name in read)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    return model.SerializeToString()


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The page with two models without weights, as `export --format web` lays it out."""
    folder = tmp_path_factory.mktemp("web") / "site"
    shutil.copytree(web._SOURCE / "dist", folder)
    (folder / "models").mkdir()
    common = {
        "normalization": {"mean": MEAN},
        "inputs": {"images": {"shape": [1, SIDE, SIDE, 3]}, "modalities": {"shape": [1]}},
        "licence": "test",
    }
    config = TARGETS.config()
    segmenter = {
        **common,
        "preset": "colours",
        "resize_mode": "pad",
        "modalities": list(TARGETS.modalities),
        "targets": {name: list(own) for name, own in TARGETS.names.items()},
        "channels": {name: list(TARGETS.channels(name)) for name in TARGETS.names},
        **{name: config[name] for name in config if name != "targets"},
        "postprocessing": RULES,
        "probability_calibration": CALIBRATION,
        "predicts_quality": {"eye": ["artery"], "slide": ["nuclei"]},
        "tells_scope": ["eye", "skin"],
    }
    classifier = {
        **common,
        "inputs": {"images": {"shape": [1, SIDE, SIDE, 3]}},
        "resize_mode": "stretch",
        "class_names": ["eye", "slide", "unknown"],
        "min_confidence": 0.4,
    }
    nodes = [
        ("Identity", ["brightness"], "probabilities"),
        ("Identity", ["mean"], "quality"),
        ("Gather", ["shares", "modalities"], "scope_score"),
    ]
    models = {}
    for name, about, content in (
        ("segmenter", segmenter, _model(["probabilities", "quality", "scope_score"], nodes)),
        (
            "recognizer",
            classifier,
            _model(["probabilities"], [("Identity", ["mean"], "probabilities")]),
        ),
    ):
        (folder / f"models/{name}.onnx").write_bytes(content)
        models[name] = web._entry(folder, f"models/{name}.onnx", about)
    (folder / "models.json").write_text(json.dumps(models))
    web._write_list(folder)
    return folder


@pytest.fixture(scope="module")
def page(site, load):
    with load("browser").opened_page(site) as page:
        page.requests()
        page.site.asked.clear()
        yield page
        assert page.requests() == page.site.asked == []
        assert page.driver.get_log("browser") == []


def _expected(image, modality, threshold=0.5):
    """Masks as `segment` makes them from what the model gives."""
    brightness = image / 255 if image.dtype == np.uint8 else image
    place = Placement.of(image.shape[:2], (SIDE, SIDE))
    canvas = place.forward(np.float32(brightness), fill=np.array(MEAN, "float32"), white=255)
    chosen = choose_targets(TARGETS, modality)
    maps = ImageMaps(chosen, canvas / np.float32(255), place)
    thresholds = dict.fromkeys(chosen.names, threshold)
    masks, _, objects = maps.results(thresholds, RULES.get(modality, {}), CALIBRATION.get(modality))
    return dict(zip(chosen.names, np.moveaxis(masks, -1, 0), strict=True)), objects


def _same(found, expected):
    assert list(found) == list(expected)
    for name, mask in found.items():
        assert mask.shape == expected[name].shape and 0 < expected[name].mean() < 1
        assert (mask != expected[name]).mean() <= 1e-3


def _png(image):
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture(scope="module")
def image():
    """Of large waves and small ones, so that each target has several parts, and holes."""
    rows, columns = np.mgrid[:90, :130]
    channels = []
    for k in range(3):
        waves = (
            np.sin(rows / (9 + k)) + np.cos(columns / (7 - k)) + 0.3 * np.sin(rows * columns / 50)
        )
        channels.append(np.rint(127 + 55 * waves).clip(0, 255))
    return np.stack(channels, axis=-1).astype("uint8")


def test_masks_are_pythons(page, image):
    for modality in ("eye", "slide"):
        page.open("image.png", _png(image), modality)
        expected, objects = _expected(image, modality)
        _same(page.masks(), expected)
    numbers = page.driver.find_element("css selector", "#targets .numbers").text
    assert f"{objects['nuclei'].max()} objects" in numbers
    assert f"predicted Dice {image[..., 0].mean() / 255:.1f}" in numbers
    assert "does not tell" in page.of("scope").text


def test_the_threshold_and_the_recognised_modality(page, image):
    image = np.maximum(image, np.array([0, 90, 0], "uint8")) // np.array([2, 1, 2], "uint8")
    page.open("image.png", _png(image))
    assert page.of("kind").text.startswith("Modality: slide, recognised with a confidence of ")
    for _ in range(5):
        page.of("threshold").send_keys("\ue012")  # left
    page.settle()
    page.choose("eye")
    _same(
        page.masks(),
        _expected(image, "eye", int(page.of("threshold").get_attribute("value")) / 100)[0],
    )
    assert "looks like those" in page.of("scope").text
    page.choose("skin")
    assert "looks unlike" in page.of("scope").text
    page.choose("auto")
    with pytest.raises(RuntimeError, match="was recognised as unknown"):
        page.open("blue.png", _png(np.roll(image, 1, axis=-1)))
    with pytest.raises(RuntimeError, match="nearly the same brightness everywhere"):
        page.open("grey.png", _png(np.full((70, 70, 3), 200, "uint8")))
    page.open("image.png", _png(image), "eye")
    page.of("threshold").send_keys("\ue014" * 5)  # right
    page.settle()
    assert page.of("threshold-value").text == "0.50"


def test_frames_of_dicom(page, tmp_path):
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 40, (3, 70, 50), dtype="uint16")
    for k, frame in enumerate(frames):
        frame[10 + 5 * k : 50, 5:30] += np.arange(900, 1300, 10, dtype="uint16")[5 * k :, None]
    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.3.1", "1.2.3"
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.NumberOfFrames, dataset.Rows, dataset.Columns = frames.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME1"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PixelRepresentation = 0
    dataset.RescaleSlope, dataset.RescaleIntercept = "2", "-100"
    dataset.PixelData = frames.tobytes()
    for window in ((), (1000, 2400)):  # Without one, black and white are of all frames together.
        if window:
            dataset.WindowCenter, dataset.WindowWidth = map(str, window)
        path = tmp_path / "frames.dcm"
        dataset.save_as(path, enforce_file_format=True)
        page.open("frames.dcm", path.read_bytes(), "skin")
        page.of("after").click()
        page.settle()
        assert page.of("slice-number").text == "frame 2 of 3"
        second = list(read_images(path))[1].array
        second = np.repeat(second.reshape(70, 50, 1), 3, axis=-1)
        _same(page.masks(), _expected(second, "skin")[0])
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.JPEGLSLossless
    dataset["PixelData"].is_undefined_length = True
    dataset.PixelData = pydicom.encaps.encapsulate([b"\0\0"] * 3)
    dataset.save_as(path, enforce_file_format=True)
    with pytest.raises(RuntimeError, match="stored as JPEG-LS, which this page does not decode"):
        page.open("frames.dcm", path.read_bytes(), "skin")


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("deep.png", _png(np.zeros((9, 9), "uint16")), "16 bits"),
        ("a.tiff", b"II*\0more", "TIFF file, which this page does not read"),
        ("a.nii", b"more", "NIfTI file, which this page does not read"),
        ("a.txt", b"more", "cannot be read"),
        ("a.dcm", b"\0" * 128 + b"DICM", "cut short|no image"),
    ],
)
def test_what_is_not_read_is_said(page, name, content, sentence):
    with pytest.raises(RuntimeError, match=sentence):
        page.open(name, content)


def test_it_opens_without_its_host(page, image):
    page.site.stop()
    page.load()
    page.open("image.png", _png(image), "eye")
    _same(page.masks(), _expected(image, "eye")[0])
    page.requests()  # Of the page itself, which its service worker answered.
