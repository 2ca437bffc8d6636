"""Presets: the built-in ones, their checksums, reading and writing them."""
