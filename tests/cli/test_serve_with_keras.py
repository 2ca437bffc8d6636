"""A Keras model behind HTTP, called by another thread than the one that loaded it."""

import io

import numpy as np
import pytest
from PIL import Image

from keras_espmedsam.models import ESPMedSAMImageSegmenter
from keras_espmedsam.serve import ServedModel, ServerSettings

for _library in ("fastapi", "httpx2", "prometheus_client", "python_multipart", "uvicorn"):
    pytest.importorskip(_library, reason="it is of the extra serve, or of the group test")


def test_the_masks_are_those_of_the_model(save_small_preset, tmp_path):
    from starlette.testclient import TestClient

    from keras_espmedsam.serve import create_app

    save_small_preset(tmp_path / "preset", ("xray", "fundus"))
    segmenter = ESPMedSAMImageSegmenter.from_preset(tmp_path / "preset")
    array = np.random.default_rng(0).integers(0, 256, (40, 50, 3), "uint8")
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, "PNG")
    # A probability in the middle, so that about half of the pixels are foreground.
    probabilities = segmenter.segment(array, "fundus", batch_size=1)["probabilities"]
    threshold = round(float(np.median(probabilities)), 5)
    expected = probabilities >= threshold
    assert 0.2 < expected.mean() < 0.8
    app = create_app([ServedModel("small", segmenter)], ServerSettings(batch_size=1))
    with TestClient(app, "http://127.0.0.1:8000") as client:
        query = {"modality": "fundus", "threshold": threshold, "output": "png"}
        answer = client.post("/segment", params=query, content=stream.getvalue())
        assert answer.status_code == 200, answer.content
        with Image.open(io.BytesIO(answer.content)) as mask:
            np.testing.assert_array_equal(np.asarray(mask) > 0, expected)
        body = {
            "inputs": [
                {
                    "name": "images",
                    "shape": [1, *array.shape],
                    "datatype": "UINT8",
                    "data": array.ravel().tolist(),
                },
                {"name": "modalities", "shape": [1], "datatype": "BYTES", "data": ["fundus"]},
            ],
            "outputs": [{"name": "probabilities"}],
        }
        (found,) = client.post("/v2/models/small/infer", json=body).json()["outputs"]
        given = np.reshape(found["data"], (40, 50))
        np.testing.assert_allclose(given, probabilities, atol=1e-6)
