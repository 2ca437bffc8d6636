"""A run's folder: its lock, state, curves and record."""
