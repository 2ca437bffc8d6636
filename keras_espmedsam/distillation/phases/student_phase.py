"""Base class of phases that train the student."""

from typing import Any, ClassVar

from keras_espmedsam.distillation.phases.distillation_phase import DistillationPhase


class StudentPhase(DistillationPhase):
    """A phase in which the student learns from teachers; `DecoupledDistiller` trains it.

    Attributes besides those of `DistillationPhase`:
        streams: tuple of `"common"` (images of any kind, without a modality) and `"domain"`
            (images of a modality): what it learns from.
        trains_controllers: bool. Whether the student must have controllers.
        labels: bool. Whether it also learns from masks.
        batch_statistics: tuple of str. The streams whose images use and update the statistics of
            BatchNorm.

    Example:
        >>> class NeckPhase(StudentPhase):
        ...     keys = ("losses",)
        ...     needs = ("data", "medical_teacher")
        ...
        ...     def variables(self, backbone, encoder, stream):
        ...         return encoder.get_layer("neck").trainable_variables
        >>> kem.registries.distillation_phases.register("neck", NeckPhase)
        >>> from keras_espmedsam.distillation.phases import named_phase
        >>> named_phase("neck").streams
        ('domain',)
        >>> kem.registries.distillation_phases.unregister("neck")
    """

    streams: ClassVar[tuple[str, ...]] = ("domain",)
    trains_controllers: ClassVar[bool] = False
    labels: ClassVar[bool] = False
    batch_statistics: ClassVar[tuple[str, ...]] = ("common",)

    def variables(self, backbone: Any, encoder: Any, stream: str) -> list[Any]:
        """Return the student's variables that a stream trains.

        By default common images train the shared encoder, and images of a modality its controller.

        Args:
            backbone: `ESPMedSAMBackbone`, or the image encoder if the student is only that.
            encoder: its image encoder.
            stream: one of `streams`.

        Source: ESP-MedSAM (arXiv 2407.14153), section 3.
        """
        controllers = stream == "domain"
        return [
            variable
            for variable in encoder.trainable_variables
            if hasattr(variable, "modality") == controllers
        ]

    def begin(self, run: Any, settings: Any) -> tuple[Any, Any, Any]:
        # Imported here: configurations are checked before Keras is imported.
        from keras_espmedsam.distillation.copy_decoder import copy_decoder

        student = run.student()
        domain = common = None
        features = tuple(dict.fromkeys(term.teacher or term.student for term in settings.losses))
        if "domain" in self.streams and run.config.medical_teacher and settings.use_teacher:
            medical = run.medical_teacher()
            if "copy_decoder" in self.keys and settings.copy_decoder:
                copy_decoder(medical, student)
            domain = run.domain_teacher(medical, features)
        if "common" in self.streams:
            masks = {term.student for term in settings.losses if term.of_masks}
            common = run.common_teachers(tuple(name for name in features if name not in masks))
        training, validation = run.datasets(
            settings,
            student,
            self.streams,
            labels=self.labels,
            caches=run.caches(student, common, domain),
        )
        distiller = run.distiller(settings, student, common, domain)
        distiller.compile(run.optimizer(settings, student, training.num_batches))
        return distiller, training, validation
