"""Optimizers that keep modalities separate."""

from keras_espmedsam.optimizers.decoupled import decoupled
from keras_espmedsam.optimizers.decoupled_optimizer import DecoupledOptimizer
from keras_espmedsam.optimizers.layerwise_learning_rates import layerwise_learning_rates

__all__ = ["DecoupledOptimizer", "decoupled", "layerwise_learning_rates"]
