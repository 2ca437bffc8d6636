"""What a phase of a distillation says of itself."""

from typing import Any, ClassVar


class DistillationPhase:
    """One kind of phase: what it needs, what is published of it, what it trains and how.

    A phase is known by name once it is in `keras_espmedsam.registries.distillation_phases`, to
    which other packages add; it is made without arguments. Configurations are checked by it
    before Keras is imported, so that its module imports Keras in its methods alone. One that
    trains the student derives from `StudentPhase`.

    Attributes:
        learning_rate: float. Of Adam, falling to its 0.98th part after each epoch, where a
            configuration says nothing else.
        epochs: int. Likewise.
        keys: tuple of str. What its section of a configuration may say beside what any phase's
            may: those of `DistillPhaseSettings`, or keys of its own, whose values are found in
            `settings.model_extra`.
        needs: tuple of str. The sections without which a configuration cannot have it:
            `common_teachers`, `common_data`, `data`, `medical_teacher`.
        trains: `"student"` or `"medical_teacher"`.
        monitor: tuple of str. The metric that the best epoch is chosen by, and `"min"` or `"max"`.
        one_modality_per_batch: bool. Whether each batch is of one modality, where a configuration
            says nothing else.

    Source: ours.
    """

    learning_rate: ClassVar[float] = 1e-4
    epochs: ClassVar[int] = 50
    keys: ClassVar[tuple[str, ...]] = ()
    needs: ClassVar[tuple[str, ...]] = ("data",)
    trains: ClassVar[str] = "student"
    monitor: ClassVar[tuple[str, str]] = ("val_loss", "min")
    one_modality_per_batch: ClassVar[bool] = False

    def begin(self, run: Any, settings: Any) -> tuple[Any, Any, Any]:
        """Make what is fitted in this phase, and its data.

        Args:
            run: `DistillationRun`.
            settings: `DistillPhaseSettings`, the phase's section of the configuration.

        Returns:
            A compiled `keras.Model`, and its training and validation data.
        """
        raise NotImplementedError(f"{type(self).__name__} lacks the method begin(run, settings).")
