"""Apply Keras' augmentation layers to a batch of images and masks together."""

import contextlib

import keras
import numpy as np

from keras_espmedsam.errors import InputError

# These mix images, whose modalities then no longer fit, or use random generators that no seed
# controls, so that the mask would not move with its image.
_REFUSED = ("AugMix", "CutMix", "MixUp", "RandAugment", "RandomColorJitter")
_METHODS = ("get_random_transformation", "transform_images", "transform_segmentation_masks")


class BatchLayers:
    """Augment a batch with Keras' image layers, reproducibly, moving masks with their images.

    Keras draws a layer's transformation from a generator. Calling the layer on a dict would give
    some layers (`RandomElasticTransform`; on torch `RandomRotation`) different transformations for
    images and masks. So each is drawn twice, from two generators in the same state.

    Args:
        layers: list of layers such as `keras.layers.RandomElasticTransform`, of float32 and with
            values from 0 to 255.

    Call: `batch_layers(images, masks, entropy)` with uint8 arrays `(batch, height, width, 3)` and
    `(batch, height, width, 1)` in {0, 1} (or None), and a list of int that seeds the drawing;
    returns a pair of the same types. Results differ between backends.

    Raises:
        InputError: for an object that is not such a layer, a layer that mixes images or is not
            reproducible, and a lower precision or another range of values.

    Example:
        >>> flip = BatchLayers([keras.layers.RandomFlip("horizontal")])
        >>> masks = np.array([[1, 0]], "uint8").reshape(1, 1, 2, 1).repeat(8, axis=0)
        >>> images = masks.repeat(3, axis=-1) * 255
        >>> moved, with_them = flip(images, masks, entropy=[0])
        >>> bool((moved[..., :1] == with_them * 255).all()), len(np.unique(with_them, axis=0))
        (True, 2)
    """

    def __init__(self, layers):
        self.layers = list(layers)
        for layer in self.layers:
            name = type(layer).__name__
            if not all(hasattr(layer, method) for method in _METHODS) or name in _REFUSED:
                raise InputError(
                    f"Received the layer {name} for augmentation; expected one of Keras' image "
                    f"layers that moves masks with images and can be repeated, so none of "
                    f"{', '.join(_REFUSED)}."
                )
            if layer.compute_dtype != "float32":
                raise InputError(
                    f"Received the layer {name} of {layer.compute_dtype}, which rounds the "
                    "values of an image; make it with dtype='float32'."
                )
            if tuple(getattr(layer, "value_range", (0, 255))) != (0, 255):
                raise InputError(
                    f"Received the layer {name} with value_range={tuple(layer.value_range)}; "
                    "expected (0, 255), since images are uint8."
                )

    def __call__(self, images, masks, entropy):
        if not self.layers:
            return images, masks
        with _on_host():
            return self._changed(images, masks, entropy)

    def _changed(self, images, masks, entropy):
        images = keras.ops.convert_to_tensor(images.astype("float32"))
        if masks is not None:
            masks = keras.ops.convert_to_tensor(masks.astype("float32"))
        seeds = np.random.SeedSequence(entropy).generate_state(len(self.layers))
        for layer, seed in zip(self.layers, seeds, strict=True):
            seed, before = int(seed & 0x7FFFFFFF), images
            with _drawn(layer, before, seed) as transformation:
                images = layer.transform_images(images, transformation)
            if masks is not None:
                with _drawn(layer, before, seed) as transformation:
                    masks = layer.transform_segmentation_masks(masks, transformation)
        images = np.clip(np.round(keras.ops.convert_to_numpy(images)), 0, 255).astype("uint8")
        if masks is not None:
            masks = (keras.ops.convert_to_numpy(masks) >= 0.5).astype("uint8")
        return images, masks


def _on_host():
    """Run on the CPU, since the accelerator is busy with the model and data would have to wait."""
    try:
        return keras.device("cpu")
    except RuntimeError:  # JAX was configured (JAX_PLATFORMS) without a CPU.
        return contextlib.nullcontext()


@contextlib.contextmanager
def _drawn(layer, images, seed):
    """Draw a layer's transformation, restoring its generator and torch's to the drawn state."""
    generator = keras.random.SeedGenerator(seed)
    with contextlib.ExitStack() as stack:
        if keras.backend.backend() == "torch":
            # Keras' elastic transform draws from torch's global generator.
            import torch

            stack.enter_context(torch.random.fork_rng([images.device] if images.is_cuda else []))
            torch.manual_seed(seed)
        yield layer.get_random_transformation(images, training=True, seed=generator)
