"""The TensorFlow function that all export formats are made from.

Only TensorFlow can be converted to all formats with sizes left open. The weights and, up to
rounding, the outputs are those of every backend.
"""

import keras
import tensorflow as tf

from keras_espmedsam.export.request import normalization
from keras_espmedsam.export.target_planes import labels_by_group, num_planes
from keras_espmedsam.inference.scope import FURTHER_OUTPUTS

SIGNATURE = "serving_default"


def make_function(task, request):
    """Make a `tf.function` of the inputs by name, and its input signature.

    Args:
        task: the segmenter or classifier, on Keras' TensorFlow backend.
        request: `ExportRequest`.

    Returns:
        Function and list of `tf.TensorSpec`. It takes `images` and, for a segmenter of several
        modalities, `modalities`, and returns a dict:

        - a segmenter's logits: `masks` `(batch, height, width, channels)` and `patches`; if it
          predicts its quality, also `quality` `(batch, channels)`, and if it tells the scope,
          `scope_score` `(batch,)`; and so for its images;
        - a segmenter's images: `masks` `(batch, height, width)`, uint8 0 or 1, and
          `probabilities`, float32; with several channels these are `(batch, height, width, masks)`
          and `(batch, height, width, channels)`, and exclusive groups have `labels`, see
          `target_planes`;
        - a classifier's logits: `logits` `(batch, classes)`;
        - a classifier's images: `probabilities` `(batch, classes)`.
    """
    height, width = request.size or (None, None)
    signature = [
        tf.TensorSpec((request.batch_size, height, width, 3), request.input_dtype, "images")
    ]
    segments = task.is_segmenter
    several = segments and isinstance(task.input, dict) and "modalities" in task.input
    if several:
        signature.append(tf.TensorSpec((request.batch_size,), "int32", "modalities"))
    from_images = request.flavor == "images"
    mean, divisor = normalization(task)

    def run(images, modalities=None):
        if from_images:
            images = (tf.cast(images, "float32") - mean) / divisor
        inputs = {"images": images} if isinstance(task.input, dict) else images
        if several:
            inputs["modalities"] = modalities
        outputs = task(inputs, training=False)
        return heads(outputs, modalities)

    def heads(outputs, modalities):
        if not segments:
            if not from_images:
                return {"logits": outputs}
            is_logits = task.activation != "softmax"
            return {"probabilities": tf.nn.softmax(outputs) if is_logits else outputs}
        if not from_images:
            return outputs
        further = {name: outputs[name] for name in FURTHER_OUTPUTS if name in outputs}
        if task.target_set.num_channels > 1:
            return {**_planes(outputs["masks"], task.target_set, modalities), **further}
        logits = outputs["masks"][..., 0]
        # From the logits: their sigmoid is 0.5 or more exactly if they are 0 or more.
        return {
            "masks": tf.cast(logits >= 0, "uint8"),
            "probabilities": tf.sigmoid(logits),
            **further,
        }

    # The parameters' names are those of the artefact's inputs.
    def of_both(images, modalities):
        return run(images, modalities)

    def of_images(images):
        return run(images)

    return (of_both if several else of_images), signature


def _planes(logits, targets, modalities):
    """Return masks, probabilities and label images of several channels; see `draw_planes`."""
    channels = tf.unstack(logits[..., : num_planes(targets)], axis=-1)
    masks = [channel >= 0 for channel in channels]
    labels = []
    for table in labels_by_group(targets):
        # The label and the logit of the target that has each pixel so far.
        label, best = tf.zeros_like(channels[0], "int32"), tf.zeros_like(channels[0])
        own = [_of_sample(row, modalities) if row.any() else None for row in table]
        for channel, place in zip(channels, own, strict=True):
            if place is not None:
                better = (channel > best) | ((channel == best) & ((label == 0) | (place < label)))
                better &= place > 0
                label = tf.where(better, place, label)
                best = tf.where(better, channel, best)
        for i, place in enumerate(own):
            if place is not None:
                masks[i] &= (place == 0) | (place == label)
        labels.append(label)
    found = {
        "masks": tf.cast(tf.stack(masks, axis=-1), "uint8"),
        "probabilities": tf.sigmoid(logits),
    }
    if labels:
        found["labels"] = tf.cast(
            labels[0] if len(labels) == 1 else tf.stack(labels, axis=-1), "uint8"
        )
    return found


def _of_sample(row, modalities):
    """Select each sample's number from one per modality, `(batch, 1, 1)`."""
    if modalities is None:
        return tf.constant(row[0])
    return tf.gather(tf.constant(row), modalities)[:, None, None]


def write_saved_model(task, request, path):
    """Write a SavedModel, from which TFLite is made too.

    Source: Keras' `ExportArchive`.
    """
    function, signature = make_function(task, request)
    # An endpoint's variables are found automatically; `track` would store each a second time.
    archive = keras.export.ExportArchive()
    archive.add_endpoint(SIGNATURE, function, signature)
    archive.write_out(str(path), verbose=False)
