"""Presets: the built-in ones, their checksums, and how they are read and written."""
