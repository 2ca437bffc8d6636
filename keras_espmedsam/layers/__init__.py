"""Layers of ESP-MedSAM and TiC, one per box of the papers' figures."""

from keras_espmedsam.layers.bilinear_upsampling import BilinearUpsampling
from keras_espmedsam.layers.conv_norm import ConvNorm
from keras_espmedsam.layers.cyclic_shift import MultiDirectionalCyclicShift
from keras_espmedsam.layers.detail_branch import DetailBranch
from keras_espmedsam.layers.feature_neck import FeatureNeck
from keras_espmedsam.layers.fourier_positional_encoding import FourierPositionalEncoding
from keras_espmedsam.layers.inter_pooling import InterPooling
from keras_espmedsam.layers.key_value_tokens import KeyValueTokens
from keras_espmedsam.layers.mask_quality import MaskQuality
from keras_espmedsam.layers.mbconv import MBConv
from keras_espmedsam.layers.mlp import MLP
from keras_espmedsam.layers.modality_adapter import ModalityAdapter
from keras_espmedsam.layers.modality_variables import ModalityVariables
from keras_espmedsam.layers.msa_conv2d import MSAConv2D
from keras_espmedsam.layers.parallel_adapter import ParallelAdapter
from keras_espmedsam.layers.patch_embedding import ConvPatchEmbedding
from keras_espmedsam.layers.patch_merging import PatchMerging
from keras_espmedsam.layers.position_embedding import PositionEmbedding
from keras_espmedsam.layers.query_decoupled_modality_decoder import QueryDecoupledModalityDecoder
from keras_espmedsam.layers.relative_position_attention import RelativePositionAttention
from keras_espmedsam.layers.relative_positions import RelativePositions
from keras_espmedsam.layers.scope_score import ScopeScore
from keras_espmedsam.layers.self_patch_prompt_generator import SelfPatchPromptGenerator
from keras_espmedsam.layers.target_constraints import TargetConstraints
from keras_espmedsam.layers.target_query import TargetQuery
from keras_espmedsam.layers.tic_block import TiCBlock
from keras_espmedsam.layers.two_way_transformer import (
    DownsampledAttention,
    TwoWayAttentionBlock,
    TwoWayTransformer,
)
from keras_espmedsam.layers.upscaling_conv2d import UpscalingConv2D
from keras_espmedsam.layers.vit_med_block import ViTMedBlock
from keras_espmedsam.layers.window_attention import WindowAttention
from keras_espmedsam.layers.window_attention_block import WindowAttentionBlock

__all__ = [
    "MLP",
    "BilinearUpsampling",
    "ConvNorm",
    "ConvPatchEmbedding",
    "DetailBranch",
    "DownsampledAttention",
    "FeatureNeck",
    "FourierPositionalEncoding",
    "InterPooling",
    "KeyValueTokens",
    "MBConv",
    "MaskQuality",
    "MSAConv2D",
    "ModalityAdapter",
    "ModalityVariables",
    "MultiDirectionalCyclicShift",
    "ParallelAdapter",
    "PatchMerging",
    "PositionEmbedding",
    "QueryDecoupledModalityDecoder",
    "RelativePositionAttention",
    "RelativePositions",
    "ScopeScore",
    "SelfPatchPromptGenerator",
    "TargetConstraints",
    "TargetQuery",
    "TiCBlock",
    "TwoWayAttentionBlock",
    "TwoWayTransformer",
    "UpscalingConv2D",
    "ViTMedBlock",
    "WindowAttention",
    "WindowAttentionBlock",
]
