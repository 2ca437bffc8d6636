"""What a run is told, checked by pydantic without Keras."""
