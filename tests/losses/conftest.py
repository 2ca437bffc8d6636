"""Masks with easy, hard and empty images, and what the losses' fractions are made of."""

import numpy as np
import pytest


@pytest.fixture
def batch():
    """Truth and logits of four images: two ordinary, one empty, one full."""
    rng = np.random.default_rng(3)
    y_true = (rng.random((4, 3, 5, 1)) < 0.4).astype("float32")
    y_true[2], y_true[3] = 0, 1
    return y_true, rng.normal(0, 3, (4, 3, 5, 1)).astype("float32")


@pytest.fixture
def extreme():
    """A right and a wrong image of logits whose exponential overflows."""
    y_true = np.zeros((2, 3, 5, 1), "float32")
    y_true[:, 0] = 1
    logits = (2 * y_true - 1) * 1e4
    logits[1] *= -1
    return y_true, logits
