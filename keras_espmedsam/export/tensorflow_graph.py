"""The function that is exported, in TensorFlow: all formats are made of it.

TensorFlow alone can be turned into all of them, with sizes left open; the weights and, to rounding,
the numbers are those of every backend.
"""

import keras
import tensorflow as tf

from keras_espmedsam.export.request import normalization

SIGNATURE = "serving_default"


def make_function(task, request):
    """A `tf.function` of the inputs by name, and its input signature.

    Args:
        task: the segmenter or classifier, on Keras' TensorFlow backend.
        request: `ExportRequest`.

    Returns:
        Function and list of `tf.TensorSpec`. It takes `images`, and `modalities` for a segmenter
        of several, and gives a dict:

        - a segmenter's logits: `masks` `(batch, height, width, 1)` and `patches`;
        - a segmenter's images: `masks` `(batch, height, width)`, uint8 0 or 1, and
          `probabilities`, float32;
        - a classifier's logits: `logits` `(batch, classes)`;
        - a classifier's images: `probabilities` `(batch, classes)`.

    Source: ours.
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
        return heads(outputs)

    def heads(outputs):
        if not segments:
            if not from_images:
                return {"logits": outputs}
            is_logits = task.activation != "softmax"
            return {"probabilities": tf.nn.softmax(outputs) if is_logits else outputs}
        if not from_images:
            return {name: outputs[name] for name in ("masks", "patches")}
        logits = outputs["masks"][..., 0]
        # Of the logits: their sigmoid is 0.5 or more just where they are 0 or more.
        return {
            "masks": tf.cast(logits >= 0, "uint8"),
            "probabilities": tf.sigmoid(logits),
        }

    # Their parameters' names are those of the artefact's inputs.
    def of_both(images, modalities):
        return run(images, modalities)

    def of_images(images):
        return run(images)

    return (of_both if several else of_images), signature


def write_saved_model(task, request, path):
    """Write a SavedModel, of which TFLite is made too.

    Source: Keras' `ExportArchive`.
    """
    function, signature = make_function(task, request)
    # An endpoint's variables are found by themselves; `track` would store each a second time.
    archive = keras.export.ExportArchive()
    archive.add_endpoint(SIGNATURE, function, signature)
    archive.write_out(str(path), verbose=False)
