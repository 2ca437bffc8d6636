"""An optimiser that leaves the controllers of absent modalities as they are."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="keras_espmedsam")
class ModalityMaskedOptimizer(keras.optimizers.Optimizer):
    """Wrap a Keras optimiser so that a modality absent from a batch is not updated.

    With momentum or weight decay, an optimiser moves also the variables whose gradient is zero.
    This one puts a modality's variables (those with the mark `is_modality_specific`) and their
    optimiser state back, bit for bit, after a step in which their gradient was zero everywhere.
    All other variables take the wrapped optimiser's step.

    The count of steps is shared. A modality that is first seen after many steps is past the bias
    correction of Adam and its kind: its first tens of steps are up to five times as long as the
    learning rate says. Mix the modalities from the start, or lower the rate.

    `ESPMedSAMImageSegmenter.compile` wraps the optimiser by itself.

    Args:
        inner_optimizer: `keras.optimizers.Optimizer`.

    Raises:
        ValueError: when the wrapped optimiser accumulates gradients (a modality seen only in an
            earlier part of the accumulation would lose its step), scales the loss (that belongs
            outside), is built already (whose state belongs to which variable is learnt while it
            is built), or keeps state that cannot be told apart by variable (Adafactor).

    Example:
        >>> optimizer = ModalityMaskedOptimizer(keras.optimizers.AdamW(1e-3, weight_decay=0.05))
        >>> own = keras.Variable([1.0, 2.0])
        >>> own.is_modality_specific = True
        >>> optimizer.build([own])
        >>> optimizer.apply([keras.ops.zeros(2)])  # absent: neither a step nor weight decay
        >>> keras.ops.convert_to_numpy(own).tolist()
        [1.0, 2.0]

    Source: ours; the paper's decoupling (arXiv 2407.14153) asks for it.
    """

    def __init__(self, inner_optimizer, name=None, **kwargs):
        if getattr(inner_optimizer, "gradient_accumulation_steps", None):
            raise ValueError(
                "ModalityMaskedOptimizer received an optimizer with gradient_accumulation_steps="
                f"{inner_optimizer.gradient_accumulation_steps}; give one without."
            )
        if isinstance(inner_optimizer, keras.optimizers.LossScaleOptimizer):
            raise ValueError(
                "ModalityMaskedOptimizer received a LossScaleOptimizer; put the loss scaling "
                "outside: LossScaleOptimizer(ModalityMaskedOptimizer(optimizer))."
            )
        if inner_optimizer.built:
            raise ValueError(
                f"ModalityMaskedOptimizer received the optimizer {inner_optimizer.name!r}, already "
                "built; give a new one, for example "
                "`type(optimizer).from_config(optimizer.get_config())`."
            )
        super().__init__(learning_rate=0.0, name=name, **kwargs)
        self.inner_optimizer = inner_optimizer

    def build(self, variables):
        if self.built:
            return
        # The slots of each variable, learnt by watching the inner optimiser create them.
        slots = {}
        create = self.inner_optimizer.add_variable_from_reference

        def watch(reference_variable, *args, **kwargs):
            if kwargs.get("name") == "average":
                # Keras starts a moving average at zero and sets it in the first step. A modality
                # absent from that step would keep the zero, and `fit` ends by taking the averages.
                kwargs["initializer"] = lambda *_, **__: ops.copy(reference_variable)
            slot = create(reference_variable, *args, **kwargs)
            slots.setdefault(id(reference_variable), []).append(slot)
            return slot

        self.inner_optimizer.add_variable_from_reference = watch
        try:
            self.inner_optimizer.build(variables)
        finally:
            del self.inner_optimizer.add_variable_from_reference
        known = {id(slot) for own in slots.values() for slot in own}
        unknown = [v for v in self.inner_optimizer.variables if len(v.shape) and id(v) not in known]
        if unknown:
            raise ValueError(
                f"ModalityMaskedOptimizer received {type(self.inner_optimizer).__name__}, which "
                f"keeps state whose variable is not known ({unknown[0].path}); give another "
                "optimizer, such as AdamW."
            )
        guarded = {
            id(variable): [variable, *slots.get(id(variable), [])]
            for variable in variables
            if getattr(variable, "is_modality_specific", False)
        }
        # Behind a function, since Keras would count variables in an attribute as this
        # optimiser's own and save, and on JAX donate, them twice.
        self._guarded = guarded.get
        super().build(variables)

    @property
    def variables(self):
        return self._variables + self.inner_optimizer.variables

    def apply(self, grads, trainable_variables=None):
        if trainable_variables is not None:
            trainable_variables = list(trainable_variables)
            if not self.built:
                self.build(trainable_variables)
        else:
            trainable_variables = self._trainable_variables
        before = []
        for gradient, variable in zip(grads, trainable_variables, strict=True):
            own = self._guarded(id(variable))
            if gradient is None or own is None:
                continue
            present = ops.any(ops.not_equal(gradient, 0))
            for guarded in own:
                before.append((guarded, present, ops.stop_gradient(ops.copy(guarded.value))))
        self.inner_optimizer.apply(grads, trainable_variables)
        for guarded, present, value in before:
            guarded.assign(ops.where(present, guarded.value, value))

    @property
    def learning_rate(self):
        return self.inner_optimizer.learning_rate

    @learning_rate.setter
    def learning_rate(self, learning_rate):
        self.inner_optimizer.learning_rate = learning_rate

    @property
    def iterations(self):
        return self.inner_optimizer.iterations

    def scale_loss(self, loss):
        return self.inner_optimizer.scale_loss(loss)

    def finalize_variable_values(self, var_list):
        self.inner_optimizer.finalize_variable_values(var_list)

    def get_config(self):
        return {
            "name": self.name,
            "inner_optimizer": keras.saving.serialize_keras_object(self.inner_optimizer),
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config = dict(config)
        inner = keras.saving.deserialize_keras_object(
            config.pop("inner_optimizer"), custom_objects=custom_objects
        )
        return cls(inner, **config)
