"""Optimisers that keep modalities apart."""

from keras_espmedsam.optimizers.decoupled import decoupled
from keras_espmedsam.optimizers.decoupled_optimizer import DecoupledOptimizer

__all__ = ["DecoupledOptimizer", "decoupled"]
