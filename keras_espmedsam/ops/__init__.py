"""Operators on tensors: attention in sliding windows."""

from keras_espmedsam.ops.msa_conv2d import merge_attentions, msa_conv2d
from keras_espmedsam.ops.pooled_attention import pooled_window_attention

__all__ = ["merge_attentions", "msa_conv2d", "pooled_window_attention"]
