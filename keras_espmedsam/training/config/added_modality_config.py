"""What `espmedsam add-modality` is told."""

from pathlib import Path

import pydantic

from keras_espmedsam.training.config.run_config import (
    Count,
    EarlyStoppingSettings,
    Existing,
    Positive,
)
from keras_espmedsam.training.config.settings import Settings


class AddedModalityConfig(Settings):
    """The settings of a run that adds a modality, kept in its folder.

    Example:
        >>> from keras_espmedsam.training.config.settings import load_settings
        >>> load_settings(AddedModalityConfig, {"name": "ct", "output": "ct"})
        Traceback (most recent call last):
        keras_espmedsam.errors.InputError: The configuration lacks the key preset; add it.

    Source: ours.
    """

    output: Path
    name: str
    preset: str
    index: Existing
    init_from: str | None = None
    train_splits: list[str] = ["train"]
    val_splits: list[str] = ["val"]
    epochs: Count = 20
    steps: Count = 30
    batch_size: Count = 8
    learning_rate: Positive = 2e-3
    image_size: Count | None = None
    seed: pydantic.NonNegativeInt = 0
    strict: bool = False
    early_stopping: EarlyStoppingSettings = EarlyStoppingSettings(patience=5)

    @pydantic.model_validator(mode="after")
    def _validation_apart(self):
        both = sorted(set(self.train_splits) & set(self.val_splits))
        if both:
            raise ValueError(
                f"the split {', '.join(both)} is to be trained and validated on; validate on "
                "images that are not trained on."
            )
        return self
