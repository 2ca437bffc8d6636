"""Map tensors of the published PyTorch models to variables, part by part.

ESP-MedSAM took its encoder from MobileSAM and its decoder from SAM, including names, so one table
serves both; only the beginnings of the names differ.
"""

from keras_espmedsam.converters.matching import (
    CONV,
    CONV_TRANSPOSE,
    DENSE,
    DEPTHWISE,
    POSITION,
    TOKEN,
    Entry,
)

FOURIER_MATRIX = "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"

_OTHER_MASKS = "the hyper-network of another of SAM's masks"
# Parts of SAM and MobileSAM, besides the image encoder, that ESP-MedSAM does not have.
SAM_UNUSED = {
    "prompt_encoder.": "SAM's prompt encoder, of which the model uses only the Fourier matrix",
    "mask_decoder.iou_token.": "SAM's estimate of its own quality",
    "mask_decoder.iou_prediction_head.": "SAM's estimate of its own quality",
    "mask_decoder.mask_tokens.": "SAM's mask tokens, which the modality queries replace",
    "mask_decoder.output_hypernetworks_mlps.1.": _OTHER_MASKS,
    "mask_decoder.output_hypernetworks_mlps.2.": _OTHER_MASKS,
    "mask_decoder.output_hypernetworks_mlps.3.": _OTHER_MASKS,
}


def encoder_entries(encoder, prefix):
    """Return entries of the shared image encoder, without controllers.

    Args:
        encoder: `TinyViTBackbone` with a neck on its last stage.
        prefix: str. `"SemiTViT."` in ESP-MedSAM, `"image_encoder."` in MobileSAM.

    Returns:
        List of `Entry`.
    """
    embedding = encoder.patch_embedding
    entries = [
        *_conv_norm(f"{prefix}patch_embed.seq.0", embedding.conv_1),
        *_conv_norm(f"{prefix}patch_embed.seq.2", embedding.conv_2),
    ]
    for stage, blocks in enumerate(encoder.blocks):
        for i, block in enumerate(blocks):
            name = f"{prefix}layers.{stage}.blocks.{i}"
            entries += _mbconv(name, block) if stage == 0 else _attention_block(name, block)
    for stage, merging in enumerate(encoder.mergings):
        name = f"{prefix}layers.{stage}.downsample"
        for conv in ("conv_1", "conv_2", "conv_3"):
            entries += _conv_norm(f"{name}.{conv.replace('_', '')}", getattr(merging, conv))
    return [*entries, *_neck(f"{prefix}neck", encoder.neck)]


def vit_entries(encoder, prefix="image_encoder."):
    """Return entries of SAM's own image encoder, without tokens and adapters.

    Args:
        encoder: `ViTMedBackbone` with a neck.
        prefix: str. Beginning of the encoder's names.

    Returns:
        List of `Entry`.
    """
    entries = [
        *_layer(f"{prefix}patch_embed.proj", encoder.patch_embedding, CONV),
        Entry(f"{prefix}pos_embed", encoder.position_embedding.table, POSITION),
    ]
    for i, block in enumerate(encoder.blocks):
        name, attention = f"{prefix}blocks.{i}", block.attention
        entries += [
            *_norm(f"{name}.norm1", block.norm_1),
            Entry(f"{name}.attn.rel_pos_h", attention.positions.rows),
            Entry(f"{name}.attn.rel_pos_w", attention.positions.columns),
            *_layer(f"{name}.attn.qkv", attention.qkv, DENSE),
            *_layer(f"{name}.attn.proj", attention.projection, DENSE),
            *_norm(f"{name}.norm2", block.norm_2),
            *_dense_chain(f"{name}.mlp", ("lin1", "lin2"), block.mlp),
        ]
    return [*entries, *_neck(f"{prefix}neck", encoder.neck)]


def controller_entries(encoder, prefix, modality):
    """Return entries of one modality's controller.

    Args:
        encoder: `TinyViTBackbone` with controllers.
        prefix: str. Beginning of the encoder's names.
        modality: int. Index of the controller in the encoder.

    Returns:
        List of `Entry`.
    """
    entries = []
    for stage, blocks in enumerate(encoder.blocks[1:], start=1):
        for i, block in enumerate(blocks):
            name = f"{prefix}layers.{stage}.blocks.{i}"
            token = block.attention.tokens[modality]
            adapter = block.adapter.adapters[modality]
            entries += [
                Entry(f"{name}.attn.deep_QKV_embeddings_med", token["token"], TOKEN),
                Entry(f"{name}.attn.med_attention_biases", token["bias"]),
                Entry(f"{name}.med_dah.norm.weight", adapter["norm_gamma"]),
                Entry(f"{name}.med_dah.norm.bias", adapter["norm_beta"]),
                Entry(f"{name}.med_dah.fc1.weight", adapter["dense_1_kernel"], DENSE),
                Entry(f"{name}.med_dah.fc1.bias", adapter["dense_1_bias"]),
                Entry(f"{name}.med_dah.fc2.weight", adapter["dense_2_kernel"], DENSE),
                Entry(f"{name}.med_dah.fc2.bias", adapter["dense_2_bias"]),
            ]
    return entries


def decoder_entries(decoder):
    """Return entries of the decoder's transformer, upscaling, hyper-network and Fourier matrix.

    Args:
        decoder: `QueryDecoupledModalityDecoder` with a shared hyper-network. Its queries have no
            counterpart in MobileSAM and are not included.

    Returns:
        List of `Entry`.
    """
    transformer = decoder.transformer
    entries = [Entry(FOURIER_MATRIX, decoder.positional_encoding.matrix)]
    for i, block in enumerate(transformer.blocks):
        name = f"mask_decoder.transformer.layers.{i}"
        entries += [
            *_attention(f"{name}.self_attn", block.self_attention),
            *_attention(f"{name}.cross_attn_token_to_image", block.query_to_image),
            *_attention(f"{name}.cross_attn_image_to_token", block.image_to_query),
            *_dense_chain(f"{name}.mlp", ("lin1", "lin2"), block.mlp),
            *_norm(f"{name}.norm1", block.norm_1),
            *_norm(f"{name}.norm2", block.norm_2),
            *_norm(f"{name}.norm3", block.norm_3),
            *_norm(f"{name}.norm4", block.norm_4),
        ]
    name = "mask_decoder.transformer"
    entries += _attention(f"{name}.final_attn_token_to_image", transformer.final_attention)
    entries += _norm(f"{name}.norm_final_attn", transformer.final_norm)
    name = "mask_decoder.output_upscaling"
    entries += _layer(f"{name}.0", decoder.upscale_1, CONV_TRANSPOSE)
    entries += _norm(f"{name}.1", decoder.upscale_norm)
    entries += _layer(f"{name}.3", decoder.upscale_2, CONV_TRANSPOSE)
    name = "mask_decoder.output_hypernetworks_mlps.0.layers"
    return entries + _dense_chain(name, ("0", "1", "2"), decoder.hypernetworks[0])


def prompt_entries(backbone):
    """Return entries of the parts that only ESP-MedSAM has: the self-prompts and the queries.

    Args:
        backbone: `ESPMedSAMBackbone`.

    Returns:
        List of `Entry`.
    """
    generator = backbone.prompt_generator
    return [
        *_layer("patch_decoder.0", generator.patch_conv, CONV),
        *_norm("patch_decoder.1", generator.patch_norm),
        *_layer("patch_decoder.3", generator.patch_logits, CONV),
        *_layer("dense_prompter.0", generator.prompt_conv, CONV),
        *_norm("dense_prompter.1", generator.prompt_norm),
        Entry("mask_query.weight", backbone.mask_decoder.queries),
    ]


def _layer(name, layer, layout):
    entries = [Entry(f"{name}.weight", layer.kernel, layout)]
    if layer.bias is not None:
        entries.append(Entry(f"{name}.bias", layer.bias))
    return entries


def _norm(name, norm):
    return [Entry(f"{name}.weight", norm.gamma), Entry(f"{name}.bias", norm.beta)]


def _neck(name, neck):
    return [
        *_layer(f"{name}.0", neck.laterals[0], CONV),
        *_norm(f"{name}.1", neck.norm_1),
        *_layer(f"{name}.2", neck.conv, CONV),
        *_norm(f"{name}.3", neck.norm_2),
    ]


def _conv_norm(name, layer):
    return [
        Entry(f"{name}.c.weight", layer.conv.kernel, DEPTHWISE if layer.filters is None else CONV),
        *_norm(f"{name}.bn", layer.norm),
        Entry(f"{name}.bn.running_mean", layer.norm.moving_mean),
        Entry(f"{name}.bn.running_var", layer.norm.moving_variance),
    ]


def _mbconv(name, block):
    return [
        *_conv_norm(f"{name}.conv1", block.expand),
        *_conv_norm(f"{name}.conv2", block.depthwise),
        *_conv_norm(f"{name}.conv3", block.project),
    ]


def _attention_block(name, block):
    attention = block.attention
    return [
        Entry(f"{name}.attn.attention_biases", attention.position_bias),
        *_norm(f"{name}.attn.norm", attention.norm),
        *_layer(f"{name}.attn.qkv", attention.qkv, DENSE),
        *_layer(f"{name}.attn.proj", attention.projection, DENSE),
        *_norm(f"{name}.mlp.norm", block.mlp.norm),
        *_dense_chain(f"{name}.mlp", ("fc1", "fc2"), block.mlp),
        *_conv_norm(f"{name}.local_conv", block.local_conv),
    ]


def _attention(name, attention):
    return [
        *_layer(f"{name}.q_proj", attention.query, DENSE),
        *_layer(f"{name}.k_proj", attention.key, DENSE),
        *_layer(f"{name}.v_proj", attention.value, DENSE),
        *_layer(f"{name}.out_proj", attention.projection, DENSE),
    ]


def _dense_chain(name, parts, mlp):
    entries = []
    for part, dense in zip(parts, mlp.dense_layers, strict=True):
        entries += _layer(f"{name}.{part}", dense, DENSE)
    return entries
