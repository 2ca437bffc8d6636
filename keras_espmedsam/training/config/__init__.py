"""Configurations of runs, checked by pydantic without Keras."""
