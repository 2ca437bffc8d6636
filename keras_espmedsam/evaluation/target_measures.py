"""The metrics of one target in one image."""

from typing import NamedTuple

from keras_espmedsam.evaluation.instance_metrics import ObjectMatches, pooled_measures


class TargetMeasures(NamedTuple):
    """The metrics of one target in one image.

    Args:
        target: its name in the report; empty if the report does not name targets.
        values: metrics of the mask, name to value.
        objects: the matched objects, or None if they are not told apart.
    """

    target: str
    values: dict[str, float]
    objects: ObjectMatches | None = None

    @property
    def all_values(self) -> dict[str, float]:
        """The metrics of the mask and, where they are told apart, of the objects."""
        return {**self.values, **(pooled_measures([self.objects]) if self.objects else {})}
