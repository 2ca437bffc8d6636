"""Batches of images and masks for training."""
