"""A phase of a run: its length, its learning rate and its optimizer."""

from typing import Annotated, Literal

import pydantic

from keras_espmedsam.training.config.data_settings import DataSettings
from keras_espmedsam.training.config.field_types import Count, Fraction, NonNegative, Positive
from keras_espmedsam.training.config.known_names import check_names
from keras_espmedsam.training.config.parts import PARTS
from keras_espmedsam.training.config.settings import Settings


class LearningRateSettings(Settings):
    """A learning rate over the steps of a phase."""

    rate: Positive = 1e-4
    """Learning rate at the start, or after the warm-up."""
    schedule: Literal["constant", "exponential", "cosine"] = "constant"
    """`constant`; `exponential`, multiplied by `decay_per_epoch` after each epoch; or `cosine`, up
    to `rate` in `warmup_steps` and then down to `final_rate`."""
    decay_per_epoch: Positive = 0.98
    """Factor after each epoch, of the exponential schedule."""
    warmup_steps: Annotated[int, pydantic.Field(strict=True, ge=0, le=2**31 - 1)] = 0
    """Steps from a twentieth of `rate` up to it, of the cosine schedule."""
    final_rate: NonNegative = 0.0
    """Rate at the end, of the cosine schedule."""

    @pydantic.model_validator(mode="after")
    def _of_the_schedule(self):
        for key, schedule in (
            ("decay_per_epoch", "exponential"),
            ("warmup_steps", "cosine"),
            ("final_rate", "cosine"),
        ):
            if key in self.model_fields_set and self.schedule != schedule:
                raise ValueError(
                    f"{key} belongs to schedule: {schedule}; the schedule is {self.schedule}."
                )
        return self


class OptimizerSettings(Settings):
    """The optimizer; `DecoupledOptimizer` keeps separate state for each modality."""

    name: Literal["adam", "adamw", "lion", "nadam", "sgd"] = "adamw"
    """The Keras optimizer."""
    weight_decay: NonNegative | None = None
    """Weight decay; null is the optimizer's default."""
    momentum: NonNegative | None = None
    """Momentum of sgd."""
    clipnorm: Positive | None = None
    """Largest norm of one variable's gradient."""
    global_clipnorm: Positive | None = None
    """Largest norm of all gradients of a modality together."""
    accumulation_steps: Count | None = None
    """Batches whose gradients are averaged for one update."""
    ema_momentum: Fraction | None = None
    """Validate and keep moving averages of the weights, with a momentum such as 0.999."""
    layer_decay: Fraction | None = None
    """Factor of the learning rate from each encoder block to the one before it, such as 0.8."""
    part_rates: dict[str, Positive] | None = None
    """Factors of the learning rate by part, such as {shared_encoder: 0.3} for a pretrained encoder;
    a part without one has 1. The parts are those that a phase's `parts` names."""

    @pydantic.model_validator(mode="after")
    def _that_go_together(self):
        if self.momentum is not None and self.name != "sgd":
            raise ValueError(f"momentum belongs to sgd; the optimizer is {self.name}.")
        if self.clipnorm is not None and self.global_clipnorm is not None:
            raise ValueError("give clipnorm or global_clipnorm, not both.")
        check_names(self.part_rates or (), PARTS, "the part")
        return self


class PhaseSettings(Settings):
    """Settings of every phase."""

    name: Annotated[str, pydantic.Field(pattern=r"^[\w.-]+$")] | None = None
    """Name of the phase's folder; null is `phase`, or the kind of a distillation phase."""
    epochs: Count = 1
    """Epochs of the phase."""
    steps: Count | None = 100
    """Batches in an epoch; null is one pass over all images. The state is saved after each epoch.
    """
    batch_size: Count = 16
    """Images in a batch, on all devices together."""
    learning_rate: LearningRateSettings = LearningRateSettings()
    """Learning rate of the phase."""
    optimizer: OptimizerSettings = OptimizerSettings()
    """Optimiser of the phase."""

    def weights_of(self, data: DataSettings) -> dict[str, float] | None:
        """The weights by which images are drawn; None if each is shown once."""
        if not self.steps or data.weights is None:
            return None
        # So that a data set can be left out by one key alone.
        excluded = data.exclude_datasets
        return {name: value for name, value in data.weights.items() if name not in excluded}
