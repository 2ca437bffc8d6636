"""The names of the parts of a segmenter that a phase may train."""

PARTS = ("shared_encoder", "controllers", "adapters", "prompt_generator", "decoder", "queries")
"""See `select_trainable`; without Keras, so that a configuration is checked before it starts."""
