"""Convert keras-hub's SAM to an untrained medical teacher."""

import os
from typing import Any

import numpy as np

from keras_espmedsam.converters.names import FOURIER_MATRIX
from keras_espmedsam.converters.sam import write_teacher
from keras_espmedsam.errors import InputError
from keras_espmedsam.hub.write_preset import checked_output


def convert_keras_hub_sam(
    model: Any,
    output: str | os.PathLike,
    image_size: int | None = None,
    num_tokens: int = 10,
    adapter: bool = True,
) -> list[str]:
    """Make a preset that starts the medical teacher from keras-hub's SAM.

    See `convert_sam` for the result. keras-hub's encoder takes images in [0, 1] and normalises them
    itself; here the preset's converter does that.

    Args:
        model: `keras_hub.models.SAMImageSegmenter`, `SAMBackbone` or `ViTDetBackbone`, or the name
            or folder of a SAM preset such as `"sam_base_sa1b"`, which keras-hub downloads. From a
            `SAMBackbone` whose decoder was never built, and from a `ViTDetBackbone`, only the
            encoder is converted.
        output: folder for the preset; it does not exist yet or is empty.
        image_size, num_tokens, adapter: see `convert_sam`.

    Returns:
        Messages, see `convert_sam`.

    Raises:
        InputError: if the preset cannot be loaded, the model is not a SAM or lacks parts of one, or
            the output is not empty.

    Example, which downloads::

        from keras_espmedsam.converters import convert_keras_hub_sam

        messages = convert_keras_hub_sam("sam_base_sa1b", "my_teacher")
        print(*messages)

    Source: keras-hub's SAM, a port of SAM (arXiv 2304.02643).
    """
    folder = checked_output(output)
    name = "the given model"
    if isinstance(model, str | os.PathLike):
        name = f"{os.fspath(model)} of keras-hub"
        model = _loaded(os.fspath(model))
    source = name[0].upper() + name[1:]
    return write_teacher(
        sam_tensors(model, source), source, name, folder, image_size, num_tokens, adapter
    )


def _loaded(preset):
    import keras_hub

    try:
        return keras_hub.models.SAMImageSegmenter.from_preset(preset)
    # No network, an unknown name, a damaged file: each raises another type of error.
    except Exception as error:
        first = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise InputError(
            f"The preset {preset} cannot be loaded by keras-hub ({first}); give one of its SAM "
            "presets, such as sam_base_sa1b, and be online the first time."
        ) from error


def sam_tensors(model: Any, source: str) -> dict[str, np.ndarray]:
    """Return the weights of keras-hub's SAM with the names and layout of SAM's checkpoints.

    Args:
        model: see `convert_keras_hub_sam`.
        source: what to call the model at the beginning of a sentence.

    Returns:
        dict of name to float32 array.

    Raises:
        InputError: for a model that is not a SAM, or lacks parts of one.
    """
    from keras_espmedsam.models.image_encoder import image_encoder_of

    backbone = getattr(model, "backbone", model)
    try:
        tensors = _encoder_tensors(image_encoder_of(model))
    except (AttributeError, IndexError, ValueError) as error:
        raise InputError(
            f"{source} ({type(model).__name__}) has no image encoder of SAM with position tables "
            f"and biases ({str(error).splitlines()[0]}); give a keras_hub SAMImageSegmenter, "
            "SAMBackbone or ViTDetBackbone."
        ) from error
    decoder = getattr(backbone, "mask_decoder", None)
    if decoder is not None and decoder.built:
        positions = backbone.prompt_encoder.positional_embedding_layer
        tensors |= _decoder_tensors(decoder)
        tensors[FOURIER_MATRIX] = _array(positions.positional_encoding_gaussian_matrix)
    return tensors


def _encoder_tensors(encoder):
    # keras-hub names neither its layers nor their classes for others: they are known by what
    # they hold.
    (patches,) = (layer for layer in encoder.layers if hasattr(layer, "projection"))
    (positions,) = (layer for layer in encoder.layers if hasattr(layer, "pos_embed"))
    blocks = [layer for layer in encoder.layers if hasattr(layer, "mlp_block")]
    tensors = {
        **_layer("image_encoder.patch_embed.proj", patches.projection),
        "image_encoder.pos_embed": _array(positions.pos_embed),
    }
    for i, block in enumerate(blocks):
        name, attention = f"image_encoder.blocks.{i}", block.attention
        relative = attention.add_decomposed_relative_pe
        tensors |= {
            **_norm(f"{name}.norm1", block.layer_norm1),
            f"{name}.attn.rel_pos_h": _array(relative.rel_pos_h),
            f"{name}.attn.rel_pos_w": _array(relative.rel_pos_w),
            **_layer(f"{name}.attn.qkv", attention.qkv),
            **_layer(f"{name}.attn.proj", attention.projection),
            **_norm(f"{name}.norm2", block.layer_norm2),
            **_chain(f"{name}.mlp.lin", 1, block.mlp_block.dense_net),
        }
    conv_1, norm_1, conv_2, norm_2 = encoder.neck.layers
    return {
        **tensors,
        "image_encoder.neck.0.weight": _kernel(conv_1),
        **_norm("image_encoder.neck.1", norm_1),
        "image_encoder.neck.2.weight": _kernel(conv_2),
        **_norm("image_encoder.neck.3", norm_2),
    }


def _decoder_tensors(decoder):
    name = "mask_decoder.transformer"
    tensors = {
        **_attention(
            f"{name}.final_attn_token_to_image", decoder.transformer.final_attention_token_to_image
        ),
        **_norm(f"{name}.norm_final_attn", decoder.transformer.final_layer_norm),
    }
    for i, layer in enumerate(decoder.transformer.layers):
        name = f"mask_decoder.transformer.layers.{i}"
        tensors |= {
            **_attention(f"{name}.self_attn", layer.self_attention),
            **_attention(f"{name}.cross_attn_token_to_image", layer.cross_attention_token_to_image),
            **_attention(f"{name}.cross_attn_image_to_token", layer.cross_attention_image_to_token),
            **_chain(f"{name}.mlp.lin", 1, layer.mlp_block.mlp_block),
        }
        for k in (1, 2, 3, 4):
            tensors |= _norm(f"{name}.norm{k}", getattr(layer, f"layer_norm{k}"))
    upscale_1, norm, _, upscale_2, _ = decoder.output_upscaling.layers
    name = "mask_decoder.output_upscaling"
    hypernetwork = decoder.output_hypernetworks_mlps[0].mlp_block
    return {
        **tensors,
        **_layer(f"{name}.0", upscale_1),
        **_norm(f"{name}.1", norm),
        **_layer(f"{name}.3", upscale_2),
        **_chain("mask_decoder.output_hypernetworks_mlps.0.layers.", 0, hypernetwork),
    }


def _attention(name, attention):
    return {
        **_layer(f"{name}.q_proj", attention.query_proj),
        **_layer(f"{name}.k_proj", attention.key_proj),
        **_layer(f"{name}.v_proj", attention.value_proj),
        **_layer(f"{name}.out_proj", attention.out_proj),
    }


def _chain(name, first, network):
    """Return the dense layers of a network that also has activations."""
    dense = [layer for layer in network.layers if hasattr(layer, "kernel")]
    tensors = {}
    for i, layer in enumerate(dense, start=first):
        tensors |= _layer(f"{name}{i}", layer)
    return tensors


def _layer(name, layer):
    return {f"{name}.weight": _kernel(layer), f"{name}.bias": _array(layer.bias)}


def _norm(name, norm):
    return {f"{name}.weight": _array(norm.gamma), f"{name}.bias": _array(norm.beta)}


def _kernel(layer):
    """Transpose a kernel: Dense (in, out) to (out, in); Conv (h, w, in, out) to (out, in, h, w).

    A transposed convolution's is (h, w, out, in) in Keras and (in, out, h, w) in PyTorch.
    """
    kernel = _array(layer.kernel)
    return kernel.T if kernel.ndim == 2 else kernel.transpose(3, 2, 0, 1)


def _array(variable):
    import keras

    return np.asarray(keras.ops.convert_to_numpy(variable.value), "float32")
