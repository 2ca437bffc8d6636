"""Base class of the phases of a distillation."""

from typing import Any, ClassVar


class DistillationPhase:
    """One kind of phase: what it needs, its published settings, what it trains and how.

    A phase can be used by name once it is in `keras_espmedsam.registries.distillation_phases`, to
    which other packages can add; it is built without arguments. It checks configurations before
    Keras is imported, so its module must import Keras only inside methods. A phase that trains the
    student derives from `StudentPhase`.

    Attributes:
        learning_rate: float. Adam's default rate; it is multiplied by 0.98 after each epoch.
        epochs: int. Default number of epochs.
        keys: tuple of str. Keys of its section of a configuration beyond those that every phase
            has: those of `DistillPhaseSettings`, or keys of its own, whose values are in
            `settings.model_extra`.
        needs: tuple of str. Sections that the configuration must have: `common_teachers`,
            `common_data`, `data`, `medical_teacher`.
        trains: `"student"` or `"medical_teacher"`.
        monitor: tuple of str. The metric that decides which epoch is best, and `"min"` or `"max"`.
        one_modality_per_batch: bool. Whether by default each batch is of one modality.

    Example:
        >>> class ShortPhase(DistillationPhase):
        ...     epochs = 2
        >>> ShortPhase().epochs, ShortPhase().needs
        (2, ('data',))
    """

    learning_rate: ClassVar[float] = 1e-4
    epochs: ClassVar[int] = 50
    keys: ClassVar[tuple[str, ...]] = ()
    needs: ClassVar[tuple[str, ...]] = ("data",)
    trains: ClassVar[str] = "student"
    monitor: ClassVar[tuple[str, str]] = ("val_loss", "min")
    one_modality_per_batch: ClassVar[bool] = False

    def begin(self, run: Any, settings: Any) -> tuple[Any, Any, Any]:
        """Build the model to fit in this phase, and its data.

        Args:
            run: `DistillationRun`.
            settings: `DistillPhaseSettings`, the phase's section of the configuration.

        Returns:
            A compiled `keras.Model`, and its training and validation data.
        """
        raise NotImplementedError(f"{type(self).__name__} lacks the method begin(run, settings).")
