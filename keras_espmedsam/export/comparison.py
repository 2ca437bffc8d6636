"""Compare an artefact in its own runtime with the Keras model."""

import keras
import numpy as np

from keras_espmedsam.errors import InputError
from keras_espmedsam.export.request import normalization
from keras_espmedsam.export.target_planes import draw_planes
from keras_espmedsam.inference.image_segmentation import sigmoid
from keras_espmedsam.inference.scope import FURTHER_OUTPUTS

# Largest difference of a logit, relative to the largest logit if that is above 1.
TOLERANCE = 1e-4
# float16 may flip a patch that prompts the decoder, and with it part of the mask, so this is the
# mean difference of the probabilities.
MEAN_TOLERANCE = 0.01
# Rounding alone can put a patch's logit this near to 0 on either side of it: in float32, and in
# float16.
UNDECIDED = (1e-4, 1e-3)
DRAWS = 50
ANY_SIZES = ((256, 256), (96, 160))


def compare(task, request, runtime):
    """Run an artefact on generated images, in several sizes if its size is open.

    Args:
        task: the segmenter or classifier, on any backend.
        request: `ExportRequest`.
        runtime: callable from a dict of inputs to a dict of outputs.

    Returns:
        float. The largest difference: of the logits relative to the largest above 1, or of the
        probabilities; for float16 the mean difference of the probabilities.

    Raises:
        InputError: if it is above the tolerance.
    """
    worst = 0.0
    for size, numbers in _batches(request).items():
        samples = [_sample(task, request, size, seed) for seed in range(max(numbers))]
        for number in numbers:
            inputs, expected = (_stacked(one) for one in zip(*samples[:number], strict=True))
            found = runtime(inputs)
            worst = max(worst, _compared(task, request, found, expected, inputs))
    limit = MEAN_TOLERANCE if request.precision == "float16" else TOLERANCE
    if not worst <= limit:
        raise InputError(
            f"The {request.format.name} artefact differs from the Keras model by {worst:.2g}, more "
            f"than the {limit:g} that is tolerated for {request.precision}. Nothing was kept."
        )
    return worst


def _batches(request):
    """Return batch sizes to try, by image size: two of each if they are open."""
    numbers = (request.batch_size,) if request.batch_size else (1, 2)
    if request.size:
        return {request.size: numbers}
    return dict(zip(ANY_SIZES, (numbers[:1], numbers[-1:]), strict=True))


def _stacked(dicts):
    return {name: np.concatenate([one[name] for one in dicts]) for name in dicts[0]}


def _compared(task, request, found, expected, inputs):
    if set(found) != set(expected):
        raise InputError(
            f"The {request.format.name} artefact gives {', '.join(sorted(found))}; expected "
            f"{', '.join(sorted(expected))}. Nothing was kept."
        )
    found = {name: np.asarray(value) for name, value in found.items()}
    for name, want in expected.items():
        if found[name].shape != want.shape:
            raise InputError(
                f"The {request.format.name} artefact gives {name} of shape {found[name].shape}; "
                f"expected {want.shape}. Nothing was kept."
            )
    differences = [
        _difference(request, found[name], want, name in FURTHER_OUTPUTS)
        for name, want in expected.items()
        if want.dtype != np.uint8
    ]
    differences.append(_undrawn(task, found, expected, inputs))
    # Written so that NaN fails.
    return float("inf") if np.isnan(differences).any() else max(differences)


def _difference(request, got, want, is_further=False):
    """Return the difference of an output of floating-point numbers."""
    # The logits of channels that a modality does not have.
    closed = np.isneginf(want)
    if (np.isneginf(got) != closed).any():
        return float("inf")
    got, want = np.where(closed, 0, got), np.where(closed, 0, want)
    if request.precision != "float16":
        return float(np.abs(got - want).max()) / max(1.0, float(np.abs(want).max()))
    if request.flavor != "images" and not is_further:
        got, want = sigmoid(got), sigmoid(want)
    # A mean of its own for each channel, so that many that are equal do not hide one.
    axes = 0 if is_further else tuple(range(min(want.ndim, 3)))
    count = np.maximum(np.sum(~closed, axis=axes), 1)
    return float(np.max(np.sum(np.abs(got - want), axis=axes) / count))


def _undrawn(task, found, expected, inputs):
    """Return 1 if masks or label images are not those of the artefact's own probabilities.

    Compared with the Keras model's, rounding could flip a pixel at the threshold.
    """
    if "masks" not in expected or expected["masks"].dtype != np.uint8:
        return 0.0
    probabilities = found["probabilities"]
    near = np.abs(probabilities - 0.5) < 1e-6
    if probabilities.ndim == 3:
        return float(((found["masks"] != (probabilities >= 0.5)) & ~near).any())
    own = draw_planes(probabilities, 0.5, task.target_set, _modalities(task, inputs))
    near = near.any(axis=-1)
    return float(max(((found[name] != own[name])[~near]).any() for name in own))


def _modalities(task, inputs):
    """Return the modality of each image, also of a model that has only one."""
    return inputs["modalities"] if task.takes_modalities else np.zeros(len(inputs["images"]), int)


def _sample(task, request, size, number):
    """Return inputs of the artefact for one image, and the expected outputs.

    One image at a time: JAX and TensorFlow would compile or trace another batch size, and with two
    large images it is rare that all patches are far enough from the threshold.
    """
    for draw in range(DRAWS):
        rng = np.random.default_rng((number, draw))
        inputs, prepared = model_inputs(task, request, made_image(rng, size)[None])
        if task.takes_modalities:
            indices = np.array([_modality(task, rng, number)], "int32")
            inputs["modalities"] = prepared["modalities"] = indices
        one = prepared if isinstance(task.input, dict) else prepared["images"]
        outputs = _predicted(task, one)
        if not isinstance(outputs, dict):
            break
        if np.abs(outputs["patches"]).min() > UNDECIDED[request.precision == "float16"]:
            break
    given = _modalities(task, inputs) if task.is_segmenter else None
    return inputs, expected_outputs(task, request, outputs, given)


def _modality(task, rng, number):
    if task.target_set.num_channels == 1:
        return rng.integers(0, len(task.modalities))
    # In turn those of most and of fewest channels: together they have all, and closed ones.
    targets = task.target_set
    order = sorted(
        range(len(task.modalities)), key=lambda i: -len(targets.channels(targets.modalities[i]))
    )
    place = number // 2 % len(order)
    return order[-1 - place] if number % 2 else order[place]


def _predicted(task, inputs):
    if keras.backend.backend() != "tensorflow":
        return task.predict_prepared(inputs)
    # For one or two images, TensorFlow would take longer to trace the model than to run it.
    outputs = task(keras.tree.map_structure(keras.ops.convert_to_tensor, inputs), training=False)
    return keras.tree.map_structure(keras.ops.convert_to_numpy, outputs)


def made_image(rng, size):
    """Return an image of soft blobs, uint8 `(height, width, 3)`."""
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
    """Return the inputs of an artefact, and of the Keras model, for uint8 images of its size."""
    mean, divisor = normalization(task)
    normal = (images.astype("float32") - mean) / divisor
    given = images if request.flavor == "images" else normal
    return {"images": given}, {"images": normal}


def expected_outputs(task, request, outputs, modalities=None):
    """Return an artefact's expected outputs if the Keras model returns `outputs`.

    Args:
        task: the segmenter or classifier.
        request: `ExportRequest`.
        outputs: of the Keras model.
        modalities: `(batch,)` int; needed for a segmenter of several targets and modalities.
    """
    if isinstance(outputs, dict):
        outputs = {name: np.asarray(value) for name, value in outputs.items()}
        if request.flavor == "logits":
            return outputs
        further = {name: outputs[name] for name in FURTHER_OUTPUTS if name in outputs}
        if task.target_set.num_channels > 1:
            logits = outputs["masks"]
            if modalities is None:
                modalities = np.zeros(len(logits), int)
            drawn = draw_planes(logits, 0, task.target_set, modalities)
            return {**drawn, "probabilities": sigmoid(logits), **further}
        probabilities = sigmoid(outputs["masks"][..., 0])
        masks = (outputs["masks"][..., 0] >= 0).astype("uint8")
        return {"masks": masks, "probabilities": probabilities, **further}
    outputs = np.asarray(outputs)
    if request.flavor == "logits":
        return {"logits": outputs}
    return {"probabilities": task.to_probabilities(outputs)}
