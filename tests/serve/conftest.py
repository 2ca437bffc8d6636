"""A segmenter and a recogniser without a network, and a server of them in this process."""

import contextlib
import io

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from keras_espmedsam.data import Targets
from keras_espmedsam.errors import InputError
from keras_espmedsam.imaging.pixels import to_rgb
from keras_espmedsam.serve import ServedModel, ServerSettings, create_app


class Brightness:
    """A pixel's probability is its brightness; each modality has its own targets.

    `batches` holds the sizes of its calls, and `during` is called in each.
    """

    modalities = ("xray", "fundus")
    target_set = Targets({"xray": ("lungs",), "fundus": ("vessels", "disc")})

    def __init__(self):
        self.batches = []
        self.during = lambda: None

    def segment(self, images, modalities, threshold=0.5, targets=None, **options):
        self.batches.append(len(images))
        self.during()
        found = {"masks": [], "probabilities": [], "targets": []}
        for image, modality in zip(images, modalities, strict=True):
            if image.shape[:2] == (13, 13):
                raise InputError("Received an image of 13 x 13; such images bring bad luck.")
            if image.shape[:2] == (7, 7):
                raise RuntimeError("the name of a patient")
            grey = to_rgb(image, "auto")[..., 0].astype("float32")
            known = self.target_set.of(modality)
            names = tuple(name for name in known if targets is None or name in targets)
            planes = {"lungs": grey, "vessels": grey, "disc": 1 - grey}
            values = np.stack([planes[name] for name in names], axis=-1)
            if len(known) == 1:
                values = values[..., 0]
            found["masks"].append(values >= threshold)
            found["probabilities"].append(values)
            found["targets"].append(names)
        return found


class Judged(Brightness):
    """It says of X-rays how good their masks are, and whether they are of the right kind.

    `scales` holds the scales of its calls.
    """

    quality = {"xray": {"lungs": {}}}
    scope = {"xray": []}
    takes_any_size = True

    def __init__(self):
        super().__init__()
        self.scales = []

    def segment(self, images, modalities, scales=None, **options):
        self.scales.append(scales)
        found = super().segment(images, modalities, **options)
        xray = [name == "xray" for name in modalities]
        found["quality"] = [{"lungs": 0.75} if one else {} for one in xray]
        # As the segmenter's: no score at other sizes than the model's.
        found["scope_score"] = [1.5 if one and scales is None else None for one in xray]
        found["in_scope"] = [None if one is None else one <= 1 for one in found["scope_score"]]
        return found


class FirstPixel:
    """A bright first pixel is an X-ray, a dark one fundus; one between is uncertain."""

    class_names = ("xray", "fundus")
    min_confidence = 0.75

    def classify(self, images, **options):
        shares = [int(image.flat[0]) / 255 for image in images]
        return {"probabilities": [np.array([one, 1 - one]) for one in shares]}


@pytest.fixture
def segmenter():
    return Brightness()


@pytest.fixture
def judged():
    return Judged()


@pytest.fixture
def image_bytes():
    """`image_bytes(array, format)`: an image as the bytes of a file."""

    def encode(array, format="PNG", **options):
        stream = io.BytesIO()
        Image.fromarray(np.asarray(array, "uint8")).save(stream, format, **options)
        return stream.getvalue()

    return encode


@pytest.fixture
def eye(image_bytes):
    """An image of 4 x 6 pixels, dark on the left and bright on the right."""
    return image_bytes([[0, 0, 0, 200, 200, 200]] * 4)


@pytest.fixture
def client(segmenter):
    """`client(...)`: a client of a server with these settings, which stops after the test."""
    with contextlib.ExitStack() as stack:

        def start(recognizer=None, models=None, **settings):
            models = models or [ServedModel("bright", segmenter, recognizer)]
            app = create_app(models, ServerSettings(**settings))
            client = TestClient(app, "http://127.0.0.1:8000", raise_server_exceptions=False)
            stack.enter_context(client)
            return client

        yield start


@pytest.fixture
def recognizer():
    return FirstPixel()
