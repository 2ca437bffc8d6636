"""Optimisers that keep modalities apart."""

from keras_espmedsam.optimizers.modality_masked_optimizer import ModalityMaskedOptimizer

__all__ = ["ModalityMaskedOptimizer"]
