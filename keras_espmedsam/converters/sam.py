"""Convert a SAM checkpoint to an untrained medical teacher."""

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from keras_espmedsam.converters.matching import assign_tensors, ignored_messages, listed
from keras_espmedsam.converters.names import SAM_UNUSED, decoder_entries, vit_entries
from keras_espmedsam.converters.reader import read_checkpoint
from keras_espmedsam.converters.untrained_segmenter import assembled_segmenter
from keras_espmedsam.errors import InputError
from keras_espmedsam.hub.write_preset import checked_output, write_preset
from keras_espmedsam.imaging.placement import SIZE_MULTIPLE

_ENCODER = "image_encoder."
_DECODER = "mask_decoder."
_RELEASED = {(768, 12): "ViT-B", (1024, 24): "ViT-L", (1280, 32): "ViT-H"}


def convert_sam(
    path: str | os.PathLike,
    output: str | os.PathLike,
    image_size: int | None = None,
    num_tokens: int = 10,
    adapter: bool = True,
) -> list[str]:
    """Make a preset that starts the medical teacher from a SAM checkpoint.

    The image encoder is a `ViTMedBackbone` with SAM's weights. The decoder's two-way transformer,
    upscaling and positional encoding, and the hyper-network of the single mask are SAM's too. The
    encoder's additions are initialised so that they change nothing (last adapter layers at zero,
    tokens closed). Untrained, the encoder is SAM's and can be the common teacher; trained on
    labels, the whole model is the medical teacher. Self-prompts and queries are random.

    Args:
        path: `.pth`, `.pt` or `.safetensors` file, such as `sam_vit_b.pth`; ViT-B, ViT-L and
            ViT-H are recognised by their shapes.
        output: folder for the preset; it does not exist yet or is empty.
        image_size: side of the images in pixels, a multiple of 32, or `None` for the
            checkpoint's. The model resizes the position tables linearly.
        num_tokens: key/value tokens per block and head; 0 for none.
        adapter: whether each block gets an adapter.

    Returns:
        Messages: what was recognised, which tensors were ignored, what needs training, and what
        was written.

    Raises:
        InputError: if the file cannot be read or is not SAM's, the size does not fit, or the
            output is not empty.

    Example, which needs SAM's file::

        from keras_espmedsam.converters import convert_sam

        messages = convert_sam("sam_vit_b.pth", "my_teacher")
        print(*messages)

    Source: SAM (arXiv 2304.02643), from which ESP-MedSAM (arXiv 2407.14153) makes its teachers.
    """
    folder = checked_output(output)
    tensors = read_checkpoint(path)
    return write_teacher(
        tensors, f"The checkpoint {path}", path, folder, image_size, num_tokens, adapter
    )


def write_teacher(
    tensors: Mapping[str, np.ndarray],
    source: str,
    path: str | os.PathLike,
    output: Path,
    image_size: int | None,
    num_tokens: int,
    adapter: bool,
) -> list[str]:
    """Write the preset that `convert_sam` describes, from tensors with SAM's names.

    Args:
        tensors: name to array, in PyTorch's layout. Without tensors of a mask decoder, the decoder
            is random.
        source: what to call them at the beginning of a sentence.
        path: what to call them inside one.
        output: from `checked_output`.
        image_size, num_tokens, adapter: see `convert_sam`.

    Returns:
        Messages, see `convert_sam`.

    Raises:
        InputError: see `convert_sam`.
    """
    from keras_espmedsam.layers.window_attention import CLOSED_TOKEN_BIAS
    from keras_espmedsam.models import ViTMedBackbone
    from keras_espmedsam.models.esp_medsam.esp_medsam_backbone import MODALITIES

    options = encoder_options(tensors, source)
    own = tuple(size * options["patch_size"] for size in options["position_grid"])
    size = own if image_size is None else (image_size, image_size)
    if any(side < 1 or side % SIZE_MULTIPLE or side % options["patch_size"] for side in size):
        raise InputError(
            f"Received an image size of {size[0]} x {size[1]} for a SAM of {own[0]} x {own[1]}; "
            f"give a multiple of {SIZE_MULTIPLE}."
        )
    encoder = ViTMedBackbone(
        **options,
        num_tokens=num_tokens,
        adapter=adapter,
        adapter_zero_init=True,
        image_shape=(*size, 3),
    )
    segmenter = assembled_segmenter(
        encoder,
        MODALITIES,
        tuple(range(len(MODALITIES))),
        size,
        normalization="imagenet",
        resize_mode="pad",
        **decoder_options(tensors, source),
    )
    for block in encoder.blocks:
        if num_tokens:
            block.attention.tokens.bias.assign([CLOSED_TOKEN_BIAS])
    entries, random = vit_entries(encoder), "The self-prompts and the modality queries are random"
    if _holds_decoder(tensors):
        entries += decoder_entries(segmenter.backbone.mask_decoder)
    else:
        random = (
            f"{source} holds no mask decoder, so that it, the self-prompts and the queries are "
            "random"
        )
    ignored = assign_tensors(tensors, entries, SAM_UNUSED, source)
    name = _RELEASED.get((options["hidden_dim"], options["depth"]), "a ViT")
    messages = [
        f"Recognised {name} (width {options['hidden_dim']}, blocks: {options['depth']}) for "
        f"{own[0]} x {own[1]} pixels."
    ]
    if size != own:
        messages.append(f"Its position tables are resized for {size[0]} x {size[1]} pixels.")
    return [
        *messages,
        *ignored_messages(ignored, SAM_UNUSED, path),
        f"{random}: train the model before use.",
        write_preset(segmenter, output),
    ]


def encoder_options(tensors: Mapping[str, np.ndarray], source: str) -> dict:
    """Read the configuration of SAM's image encoder from the shapes of its tensors.

    Args:
        tensors: name to array, with SAM's names.
        source: what to call them at the beginning of a sentence.

    Returns:
        dict of arguments of `ViTMedBackbone`.

    Raises:
        InputError: for tensors that are not SAM's.
    """
    depth = 0
    while f"{_ENCODER}blocks.{depth}.norm1.weight" in tensors:
        depth += 1
    hidden_dim, _, _, patch_size = _shape(tensors, "patch_embed.proj.weight", 4, source)
    grid = _shape(tensors, "pos_embed", 4, source)[1:3]
    mlp_dim, _ = _shape(tensors, "blocks.0.mlp.lin1.weight", 2, source)
    neck_dim = _shape(tensors, "neck.0.weight", 4, source)[0]
    sides, global_indices = [], []
    for i in range(depth):
        rows, head_dim = _shape(tensors, f"blocks.{i}.attn.rel_pos_h", 2, source)
        columns, _ = _shape(tensors, f"blocks.{i}.attn.rel_pos_w", 2, source)
        side = ((rows + 1) // 2, (columns + 1) // 2)
        if side == grid:
            global_indices.append(i)
        else:
            sides.append(side[0])
    return {
        "hidden_dim": hidden_dim,
        "depth": depth,
        "num_heads": hidden_dim // head_dim,
        "mlp_ratio": mlp_dim / hidden_dim,
        "patch_size": patch_size,
        "window_size": sides[0] if sides else max(grid),
        "global_indices": tuple(global_indices),
        "neck_dim": neck_dim,
        "position_grid": grid,
    }


def decoder_options(tensors: Mapping[str, np.ndarray], source: str) -> dict:
    """Read the size of SAM's two-way transformer from the shapes of its tensors.

    Args:
        tensors, source: see `encoder_options`.

    Returns:
        dict of arguments of `ESPMedSAMBackbone`; empty without a mask decoder.

    Raises:
        InputError: for tensors that are not SAM's.
    """
    if not _holds_decoder(tensors):
        return {}
    depth = 0
    while f"{_DECODER}transformer.layers.{depth}.norm1.weight" in tensors:
        depth += 1
    mlp_dim, _ = _shape(tensors, "transformer.layers.0.mlp.lin1.weight", 2, source, _DECODER)
    return {"transformer_depth": depth, "transformer_mlp_dim": mlp_dim}


def _holds_decoder(tensors):
    return any(name.startswith(_DECODER) for name in tensors)


def _shape(tensors, name, rank, source, prefix=_ENCODER):
    """Return the shape of a tensor that the configuration depends on."""
    found = tensors.get(prefix + name)
    if found is None or found.ndim != rank:
        raise InputError(
            f"{source} is not a SAM: it has no {prefix}{name} of {rank} dimensions, but "
            f"{listed(list(tensors))}; give sam_vit_b.pth, sam_vit_l.pth or sam_vit_h.pth."
        )
    return found.shape
