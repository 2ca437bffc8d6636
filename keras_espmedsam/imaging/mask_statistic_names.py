"""The names of what is computed of a mask to predict its quality; see `ops.mask_statistics`."""

STATISTICS = ("expected_dice", "area", "confidence", "peak", "outside")
"""The statistics of `keras_espmedsam.ops.mask_statistics`, in their order."""
