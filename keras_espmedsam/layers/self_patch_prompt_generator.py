"""Self-Patch Prompt Generator: the image prompts its own decoder."""

import keras
from keras import ops

from keras_espmedsam.layers.activations import gelu
from keras_espmedsam.layers.convolution import Conv2D
from keras_espmedsam.layers.feature_neck import CHANNEL_NORM_EPSILON
from keras_espmedsam.layers.modality_variables import used_channels
from keras_espmedsam.ops.device_constant import device_number


@keras.saving.register_keras_serializable(package="keras_espmedsam")
class SelfPatchPromptGenerator(keras.layers.Layer):
    """Predict for each patch of the image whether it holds foreground, and make a prompt of it.

    A strided convolution, channel norm, GELU and a 1 x 1 convolution give one logit per patch.
    Its sigmoid, thresholded at 0.5 and enlarged to the embedding's grid, goes through a 1 x 1
    convolution, channel norm and GELU: the dense prompt that is added to the embedding. The
    threshold passes no gradient, so patch logits learn only from their own target: the mask,
    max-pooled to patches.

    Args:
        patch_ratio: int. Side of a patch in steps of the embedding: patch size over embedding
            stride, 2 in the release (patches of 32 pixels, embedding stride 16).
        num_maps: tuple of int. Maps of patches of each modality: 1 as published, or one for each
            target. Logits of maps beyond a sample's own are -inf.

    Input shape: `(batch, height, width, channels)`, height and width multiples of `patch_ratio`;
    `modalities`, `(batch,)` int, if `num_maps` differ.
    Output: dict of `patches`, `(batch, height / patch_ratio, width / patch_ratio, maps)` float32
    logits, and `dense_prompt`, the shape of the input.

    Example:
        >>> outputs = SelfPatchPromptGenerator()(np.zeros((1, 8, 8, 256)))
        >>> tuple(outputs["patches"].shape), tuple(outputs["dense_prompt"].shape)
        ((1, 4, 4, 1), (1, 8, 8, 256))

    Source: ESP-MedSAM (arXiv 2407.14153).
    """

    def __init__(self, patch_ratio=2, num_maps=(1,), **kwargs):
        super().__init__(**kwargs)
        self.patch_ratio = patch_ratio
        self.num_maps = tuple(num_maps)

    def build(self, input_shape):
        channels = input_shape[-1]
        dtype = self.dtype_policy
        self.patch_conv = Conv2D(
            channels // 4,
            self.patch_ratio,
            strides=self.patch_ratio,
            name="patch_conv",
            dtype=dtype,
        )
        self.patch_norm = keras.layers.LayerNormalization(
            epsilon=CHANNEL_NORM_EPSILON, name="patch_norm", dtype=dtype
        )
        self.patch_logits = Conv2D(max(self.num_maps), 1, name="patch_logits", dtype="float32")
        self.prompt_conv = Conv2D(channels, 1, name="prompt_conv", dtype=dtype)
        self.prompt_norm = keras.layers.LayerNormalization(
            epsilon=CHANNEL_NORM_EPSILON, name="prompt_norm", dtype=dtype
        )
        self.patch_conv.build(input_shape)
        self.patch_norm.build((None, None, None, channels // 4))
        self.patch_logits.build((None, None, None, channels // 4))
        self.prompt_conv.build((None, None, None, max(self.num_maps)))
        self.prompt_norm.build((None, None, None, channels))
        self.built = True

    def call(self, image_embeddings, modalities=None):
        _, height, width, _ = image_embeddings.shape
        if any(isinstance(size, int) and size % self.patch_ratio for size in (height, width)):
            raise ValueError(
                f"Received embeddings of {height} x {width} for patches of {self.patch_ratio} x "
                f"{self.patch_ratio}; pad the images, so that their height and width are "
                "multiples of the patch size, 32 pixels."
            )
        patches = self.patch_logits(gelu(self.patch_norm(self.patch_conv(image_embeddings))))
        used = used_channels(self.num_maps, modalities)
        if used is not None:
            patches = ops.where(used, patches, device_number(-float("inf"), like=patches))
        # sigmoid(x) >= 0.5 is x >= 0.
        prompt = ops.cast(ops.stop_gradient(patches) >= 0, self.compute_dtype)
        prompt = ops.repeat(ops.repeat(prompt, self.patch_ratio, axis=1), self.patch_ratio, axis=2)
        prompt = gelu(self.prompt_norm(self.prompt_conv(prompt)))
        return {"patches": patches, "dense_prompt": prompt}

    def compute_output_spec(self, image_embeddings, modalities=None):
        batch, height, width, _ = image_embeddings.shape

        def patched(size):
            return None if size is None else size // self.patch_ratio

        return {
            "patches": keras.KerasTensor(
                (batch, patched(height), patched(width), max(self.num_maps)), dtype="float32"
            ),
            "dense_prompt": keras.KerasTensor(image_embeddings.shape, dtype=self.compute_dtype),
        }

    def get_config(self):
        return {
            **super().get_config(),
            "patch_ratio": self.patch_ratio,
            "num_maps": self.num_maps,
        }
