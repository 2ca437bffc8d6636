"""An artefact in its own runtime against the Keras model."""

import keras
import numpy as np

from keras_espmedsam.errors import InputError
from keras_espmedsam.export.request import normalization
from keras_espmedsam.inference.image_segmentation import sigmoid

# Largest difference of a logit, relative to the largest logit where that is above 1.
TOLERANCE = 1e-4
# float16 may flip a patch that prompts the decoder, and with it a part of the mask: mean
# difference of the probabilities.
MEAN_TOLERANCE = 0.01
# A patch's logit this near to 0 may fall on either side of it by rounding alone: in float32, and in
# float16.
UNDECIDED = (1e-4, 1e-3)
DRAWS = 50
ANY_SIZES = ((256, 256), (96, 160))


def compare(task, request, runtime):
    """Run an artefact on made images, of several sizes where its size is open.

    Args:
        task: the segmenter or classifier, on any backend.
        request: `ExportRequest`.
        runtime: callable from a dict of inputs to a dict of outputs.

    Returns:
        float. The largest difference: of the logits relative to the largest above 1, or of the
        probabilities; for float16 the mean difference of the probabilities.

    Raises:
        InputError: when it is above the tolerance.

    Source: ours.
    """
    worst = 0.0
    for size, numbers in _batches(request).items():
        samples = [_sample(task, request, size, seed) for seed in range(max(numbers))]
        for number in numbers:
            inputs, expected = (_stacked(one) for one in zip(*samples[:number], strict=True))
            found = runtime(inputs)
            worst = max(worst, _compared(request, found, expected))
    limit = MEAN_TOLERANCE if request.precision == "float16" else TOLERANCE
    if not worst <= limit:
        raise InputError(
            f"The {request.format.name} artefact differs from the Keras model by {worst:.2g}, more "
            f"than the {limit:g} that is tolerated for {request.precision}. Nothing was kept."
        )
    return worst


def _batches(request):
    """By size, how many images are given at a time: two numbers and two sizes, where open."""
    numbers = (request.batch_size,) if request.batch_size else (1, 2)
    if request.size:
        return {request.size: numbers}
    return dict(zip(ANY_SIZES, (numbers[:1], numbers[-1:]), strict=True))


def _stacked(dicts):
    return {name: np.concatenate([one[name] for one in dicts]) for name in dicts[0]}


def _compared(request, found, expected):
    if set(found) != set(expected):
        raise InputError(
            f"The {request.format.name} artefact gives {', '.join(sorted(found))}; expected "
            f"{', '.join(sorted(expected))}. Nothing was kept."
        )
    return _difference(request, found, expected)


def _difference(request, found, expected):
    differences = []
    for name, want in expected.items():
        got = np.asarray(found[name])
        if got.shape != want.shape:
            raise InputError(
                f"The {request.format.name} artefact gives {name} of shape {got.shape}; expected "
                f"{want.shape}. Nothing was kept."
            )
        if want.dtype == np.uint8:
            # A mask is judged by its own probabilities: rounding may tip a pixel at the threshold.
            own = np.asarray(found["probabilities"]) >= 0.5
            near = np.abs(np.asarray(found["probabilities"]) - 0.5) < 1e-6
            differences.append(float(((got != own) & ~near).any()))
        elif request.precision == "float16":
            values = (got, want) if request.flavor == "images" else (sigmoid(got), sigmoid(want))
            differences.append(float(np.mean(np.abs(values[0] - values[1]))))
        else:
            scale = max(1.0, float(np.abs(want).max()))
            differences.append(float(np.abs(got - want).max()) / scale)
    # NaN is no small difference.
    return float("inf") if np.isnan(differences).any() else max(differences)


def _sample(task, request, size, number):
    """Inputs of the artefact, of one image, and what is expected of it.

    One at a time: on JAX and TensorFlow another batch size would be compiled or traced anew, and of
    two large images it is seldom that all patches are decided.
    """
    for draw in range(DRAWS):
        rng = np.random.default_rng((number, draw))
        inputs, prepared = model_inputs(task, request, made_image(rng, size)[None])
        if task.takes_modalities:
            indices = rng.integers(0, len(task.modalities), 1).astype("int32")
            inputs["modalities"] = prepared["modalities"] = indices
        one = prepared if isinstance(task.input, dict) else prepared["images"]
        outputs = _predicted(task, one)
        if not isinstance(outputs, dict):
            break
        if np.abs(outputs["patches"]).min() > UNDECIDED[request.precision == "float16"]:
            break
    return inputs, expected_outputs(task, request, outputs)


def _predicted(task, inputs):
    if keras.backend.backend() != "tensorflow":
        return task.predict_prepared(inputs)
    # Of an image or two, TensorFlow would trace the model for longer than it runs.
    outputs = task(keras.tree.map_structure(keras.ops.convert_to_tensor, inputs), training=False)
    return keras.tree.map_structure(keras.ops.convert_to_numpy, outputs)


def made_image(rng, size):
    """An image of soft blobs, uint8 `(height, width, 3)`.

    Source: ours.
    """
    y, x = (np.arange(side, dtype="float32") / max(size) for side in size)
    values = np.full((*size, 3), rng.uniform(0.2, 0.8, 3), "float32")
    for _ in range(6):
        centre, radius = rng.uniform(0, 1, 2), rng.uniform(0.05, 0.3)
        column, row = (
            np.exp(-((a - b) ** 2) / radius**2) for a, b in zip((y, x), centre, strict=True)
        )
        values += np.outer(column, row)[..., None] * rng.uniform(-0.5, 0.5, 3).astype("float32")
    values += rng.normal(0, 0.02, values.shape)
    return (255 * values.clip(0, 1)).astype("uint8")


def model_inputs(task, request, images):
    """Of uint8 images of the model's size: an artefact's inputs, and the Keras model's.

    Source: ours.
    """
    mean, divisor = normalization(task)
    normal = (images.astype("float32") - mean) / divisor
    given = images if request.flavor == "images" else normal
    return {"images": given}, {"images": normal}


def expected_outputs(task, request, outputs):
    """What an artefact should give where the Keras model gives `outputs`.

    Source: ours.
    """
    if isinstance(outputs, dict):
        outputs = {name: np.asarray(value) for name, value in outputs.items()}
        if request.flavor == "logits":
            return outputs
        probabilities = sigmoid(outputs["masks"][..., 0])
        masks = (outputs["masks"][..., 0] >= 0).astype("uint8")
        return {"masks": masks, "probabilities": probabilities}
    outputs = np.asarray(outputs)
    if request.flavor == "logits":
        return {"logits": outputs}
    return {"probabilities": task.to_probabilities(outputs)}
