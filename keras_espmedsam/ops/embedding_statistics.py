"""What an image's embedding says about the whole image, in two numbers for each channel."""

from keras import ops

# The root of 0 has no gradient, and an embedding may be the same everywhere.
SMALLEST = 1e-6


def embedding_statistics(embeddings):
    """Compute each channel's mean and standard deviation over the image.

    Args:
        embeddings: `(batch, height, width, channels)`.

    Returns:
        float32 `(batch, 2 * channels)`: all means, then all deviations.

    Example:
        >>> found = embedding_statistics(np.array([[[[1.0], [3.0]]]], "float32"))
        >>> keras.ops.convert_to_numpy(found).round(3).tolist()
        [[2.0, 1.0]]
    """
    embeddings = ops.cast(embeddings, "float32")
    mean = ops.mean(embeddings, axis=(1, 2), keepdims=True)
    variance = ops.mean(ops.square(embeddings - mean), axis=(1, 2))
    return ops.concatenate([mean[:, 0, 0], ops.sqrt(variance + SMALLEST)], axis=-1)
