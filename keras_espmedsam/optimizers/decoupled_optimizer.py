"""An optimizer with separate state for each modality, updated only when it has samples."""

import contextlib
import dataclasses
import warnings

import keras
from keras import ops

from keras_espmedsam.ops.device_constant import device_number
from keras_espmedsam.optimizers import replicas
from keras_espmedsam.optimizers.elementwise import is_elementwise
from keras_espmedsam.optimizers.flat_step import FlatStep, built, can_be_flat
from keras_espmedsam.optimizers.flat_tensors import in_jax_trace, joined
from keras_espmedsam.optimizers.given_optimizer import (
    configuration,
    given_rate,
    is_number,
    share_rate,
)

_CLIPPING = ("clipnorm", "clipvalue", "global_clipnorm")


@keras.saving.register_keras_serializable(package="keras_espmedsam")
class DecoupledOptimizer(keras.optimizers.Optimizer):
    """Give the variables of each modality, and the shared ones, their own optimizer.

    With momentum or weight decay, an optimizer also moves variables whose gradient is zero. Here
    the variables of one modality (those with its index as their attribute `modality`) have a copy
    of the given optimizer, with its own slots and its own step count. If in a step all their
    gradients are zero or `None`, the modality was absent: its variables, slots and count stay the
    same, bit for bit. The same holds for the shared variables, and for those of one target (those
    with its channel as their attribute `target` as well).

    So momentum, bias correction, moving averages and gradient accumulation count the steps in
    which a modality was present; schedules count all steps. Clipping by norm sees one modality at
    a time, since a large gradient of one must not shorten the step of another.

    There is one learning rate, shared by this optimizer and the given one. Set either
    (`learning_rate = x`, `learning_rate.assign(x)`), or let Keras' callbacks do it, and every
    modality uses it in the next step, times its multiplier.

    `ESPMedSAMImageSegmenter.compile` wraps the optimizer automatically. Loss scaling belongs
    outside: `LossScaleOptimizer(DecoupledOptimizer(optimizer))`.

    Args:
        optimizer: `keras.optimizers.Optimizer`, not built. The copies are made from it, and it
            takes no step itself; its `learning_rate` and `iterations` are this one's. As everywhere
            in Keras, `exclude_from_weight_decay` is not saved in the configuration: call it again
            on a loaded optimizer.
        learning_rate_multipliers: dict of str to float, factors of the learning rate. A key is the
            path of a variable, or its beginning up to a slash; the longest match counts, and
            without a match the factor is 1. See `layerwise_learning_rates`.

    Raises:
        ValueError: for an optimizer that is already built, scales the loss or has no learning rate
            of its own; for multipliers that are not positive or, when it is built, match no
            variable; for `global_clipnorm` with both multipliers and accumulated gradients (no
            copy would know the norm over all copies).

    Example:
        >>> optimizer = DecoupledOptimizer(keras.optimizers.AdamW(1e-3, weight_decay=0.05))
        >>> own = keras.Variable([1.0, 2.0])
        >>> own.modality = 3
        >>> optimizer.build([own])
        >>> optimizer.apply([keras.ops.zeros(2)])  # absent: neither a step nor weight decay
        >>> keras.ops.convert_to_numpy(own).tolist()
        [1.0, 2.0]

    Source: ESP-MedSAM (arXiv 2407.14153), whose decoupling of modalities requires it.
    """

    def __init__(self, optimizer, learning_rate_multipliers=None, name=None):
        multipliers = dict(learning_rate_multipliers or {})
        config = _checked(optimizer, multipliers)
        rate = given_rate(optimizer)
        if is_number(rate):
            rate = float(ops.convert_to_numpy(rate))
        super().__init__(rate, loss_scale_factor=config["loss_scale_factor"], name=name)
        self.optimizer = optimizer
        share_rate(optimizer, self)
        # Wrapped in functions: Keras would count variables in an attribute as this optimizer's own
        # and save, and on JAX donate, them twice; and a dict would change its type.
        self._multipliers = lambda: multipliers
        self._by_modality = list

    @property
    def learning_rate_multipliers(self):
        """dict of path, or beginning of one, to float."""
        return self._multipliers()

    @property
    def copies(self):
        """Iterator over the modalities' optimizers, the shared one first, for reading.

        The `learning_rate` of each is that of its last step, and is set again in the next.
        """
        # Not called `optimizers`: Keras' callbacks set the rate of each optimizer in an attribute
        # of that name; the next step would undo it, and layer multipliers would be lost. Not a
        # list, whose elements Keras would save a second time.
        return (group.optimizer for groups in self._by_modality() for group in groups)

    @property
    def variables(self):
        return [*super().variables, *(v for copy in self.copies for v in copy.variables)]

    @property
    def _model_variables_moving_average(self):
        """The averages in the order of the variables, as `SwapEMAWeights` expects them."""
        if not (self.built and self.optimizer.use_ema):
            raise AttributeError("This optimizer keeps no moving averages, or none yet.")
        averages = {
            id(variable): average
            for groups in self._by_modality()
            for group in groups
            for variable, average in zip(group.variables, _averages(group.optimizer), strict=True)
        }
        return [averages[id(variable)] for variable in self._trainable_variables]

    # === Learning rate ===

    @property
    def learning_rate(self):
        self._follow_given_rate()
        return super().learning_rate

    @learning_rate.setter
    def learning_rate(self, rate):
        self._set_rate(rate)

    def _set_rate(self, rate):
        keras.optimizers.Optimizer.learning_rate.fset(self, rate)
        share_rate(self.optimizer, self)

    def _follow_given_rate(self):
        """Adopt a schedule that was set on the given optimizer; numbers are shared already."""
        rate = given_rate(self.optimizer)
        if not is_number(rate) and rate is not given_rate(self):
            self._set_rate(rate)

    # === Build ===

    def build(self, variables):
        if self.built:
            return
        self._follow_given_rate()
        # Keras on TensorFlow builds an optimizer inside the traced step.
        with replicas.untraced():
            self._build(variables)
        super().build(variables)

    def _build(self, variables):
        multipliers = self.learning_rate_multipliers
        if multipliers and not any(_fits(k, v.path) for k in multipliers for v in variables):
            raise ValueError(
                "DecoupledOptimizer received learning_rate_multipliers for "
                f"{', '.join(multipliers)}, which fit none of its variables; give paths such as "
                f"{variables[0].path}."
            )
        self._take_over_exclusions()
        if not is_elementwise(self.optimizer):
            _warn_of_slow_way(type(self.optimizer))
        by_modality = []
        # The shared ones first.
        for owner in sorted({_owner(variable) for variable in variables}):
            rates = {}
            for variable in variables:
                if _owner(variable) == owner:
                    rates.setdefault(self._multiplier(variable.path), []).append(variable)
            by_modality.append(
                [
                    self._group(_owner_name(owner), rate, own)
                    for rate, own in sorted(rates.items(), reverse=True)
                ]
            )
        self._by_modality = lambda: by_modality

    def _multiplier(self, path):
        keys = [key for key in self.learning_rate_multipliers if _fits(key, path)]
        return self.learning_rate_multipliers[max(keys, key=len)] if keys else 1.0

    def _take_over_exclusions(self):
        """Copy settings made after construction, such as `exclude_from_weight_decay`."""
        pattern = self.optimizer
        known = vars(type(pattern).from_config(configuration(pattern)))
        for attribute, value in vars(pattern).items():
            if attribute not in known and not hasattr(self, attribute):
                setattr(self, attribute, value)

    def _group(self, name, rate, variables):
        """Build an optimizer like the given one for some variables."""
        config = configuration(self.optimizer)
        if not is_number(given_rate(self)) and "relative_step" in config:
            config["relative_step"] = False  # As Adafactor does with a schedule.
        config["name"] = f"{self.optimizer.name}_{name}" + (f"_x{rate:g}" if rate != 1 else "")
        config["learning_rate"] = 1.0  # Set in each step.
        config["loss_scale_factor"] = None
        if self.learning_rate_multipliers:
            config["global_clipnorm"] = None  # Applies to a modality, not its layers: `_clipped`.
        for key in _CLIPPING:
            if config[key]:
                config[key] /= replicas.count()  # Copies get that fraction of the gradients.
        exempt = [variable for variable in variables if not self._use_weight_decay(variable)]
        if len(exempt) == len(variables) and config["weight_decay"] is not None:
            # On PyTorch Keras fails if nothing is to decay; AdamW does not take `None`.
            config["weight_decay"], exempt = 0.0, []
        copy = type(self.optimizer).from_config(dict(config))
        copy.exclude_from_weight_decay(var_list=exempt)
        slots = built(copy, variables)
        flat = None
        if can_be_flat(self.optimizer, variables) and _pays(variables):
            flat = FlatStep(copy, slots, config, variables, exempt)
        if copy.use_ema:
            # Keras initialises them with zeros, which stay until the modality's first step.
            for average, variable in zip(_averages(copy), variables, strict=True):
                average.assign(ops.copy(variable.value))
        return _Group(copy, rate, variables, flat)

    def exclude_from_weight_decay(self, var_list=None, var_names=None):
        if self.built:
            raise ValueError(
                f"exclude_from_weight_decay was called on {self.name!r}, already built; call it "
                "before the first step."
            )
        super().exclude_from_weight_decay(var_list, var_names)

    # === Step ===

    def apply(self, grads, trainable_variables=None):
        if trainable_variables is None:
            variables = self._trainable_variables
        else:
            variables = list(trainable_variables)
            self.build(variables)
        gradients = replicas.summed(list(grads))
        if self.loss_scale_factor is not None:
            gradients = [g if g is None else g / self.loss_scale_factor for g in gradients]
        found = {id(v): g for v, g in zip(variables, gradients, strict=True)}
        steps, present = [], []
        for groups in self._by_modality():
            parts = [_Part(g, [found.pop(id(v), None) for v in g.variables]) for g in groups]
            parts = [part for part in parts if any(part.given)]
            if parts:
                steps.append(parts)
                tensors = [g for part in parts for g in part.gradients if g is not None]
                present.append(_any_not_zero(tensors))
        if found or not steps:
            raise ValueError(
                f"{self.name!r} received {len(variables)} variables, {len(found)} of them unknown, "
                f"and gradients of {sum(g is not None for g in gradients)}; expected variables "
                "that it was built with, and at least one gradient."
            )
        for parts, flag in zip(steps, present, strict=True):
            if flag is not False:
                self._step(parts, None if flag is True else flag)
        self.iterations.assign_add(device_number(1, like=self.iterations.value))

    def _step(self, parts, present):
        """Take a step of one modality; `present` is a tensor, or `None` if it is present."""
        clipped = self._clipped([part.gradients for part in parts])
        for part, gradients in zip(parts, clipped, strict=True):
            group = part.group
            # A tensor, since on PyTorch Keras would upload a number.
            rate = ops.convert_to_tensor(self.learning_rate) * group.multiplier
            if not part.joins:
                _step_by_variable(group, rate, gradients, present)
                continue
            _warn_of_missing(group.variables, part.given)
            with _kept_unless(present, [group.optimizer.learning_rate]):
                group.optimizer.learning_rate = rate
            group.flat.apply(gradients, part.given, present)

    def _clipped(self, gradients):
        """Clip by the norm of all of a modality's gradients, which no copy sees."""
        limit = self.optimizer.global_clipnorm
        if not limit or not self.learning_rate_multipliers:
            return gradients
        given = [g for own in gradients for g in own if g is not None]
        norm = ops.sqrt(sum(ops.sum(ops.square(ops.cast(g, "float32"))) for g in given))
        factor = limit / ops.maximum(norm, device_number(limit, like=norm))
        return [[g if g is None else g * ops.cast(factor, g.dtype) for g in o] for o in gradients]

    def finalize_variable_values(self, var_list):
        for groups in self._by_modality():
            for group in groups:
                # Weights may have been loaded since averaging began.
                if self.optimizer.use_ema and int(ops.convert_to_numpy(group.optimizer.iterations)):
                    group.optimizer.finalize_variable_values(group.variables)
                    for variable in group.variables:
                        # Otherwise the next `fit` on JAX would donate one array twice.
                        variable.assign(ops.copy(variable.value))

    # === Config ===

    def get_config(self):
        self._follow_given_rate()
        optimizer = keras.saving.serialize_keras_object(self.optimizer)
        current = super().get_config()
        for key in ("learning_rate", "loss_scale_factor"):
            optimizer["config"][key] = current[key]
        return {
            "name": self.name,
            "optimizer": optimizer,
            "learning_rate_multipliers": dict(self.learning_rate_multipliers),
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config = dict(config)
        optimizer = keras.saving.deserialize_keras_object(
            config.pop("optimizer"), custom_objects=custom_objects
        )
        return cls(optimizer, **config)


def _owner(variable):
    """Return whether a variable has an owner, and its modality and target, -1 for none."""
    modality, target = (getattr(variable, name, None) for name in ("modality", "target"))
    return modality is not None, *(-1 if one is None else one for one in (modality, target))


def _owner_name(owner):
    owned, modality, target = owner
    name = f"modality_{modality}" if owned else "shared"
    return name if target < 0 else f"{name}_target_{target}"


@dataclasses.dataclass(frozen=True)
class _Group:
    """Variables of one modality and one factor of the learning rate."""

    optimizer: keras.optimizers.Optimizer
    multiplier: float
    variables: list
    flat: FlatStep | None


def _pays(variables):
    """Whether joining variables saves anything.

    On a CPU, PyTorch compiles nothing, reads flags at once and has operations for a whole list of
    tensors, which Keras uses: copying them into a vector and back would only add work.
    """
    if keras.backend.backend() != "torch":
        return True
    return any(variable.value.device.type != "cpu" for variable in variables)


class _Part:
    """The gradients of a group in a step, joined if its step is taken on vectors."""

    def __init__(self, group, gradients):
        self.group = group
        self.given = [gradient is not None for gradient in gradients]
        self.joins = group.flat is not None and group.flat.takes(self.given)
        self.gradients = group.flat.joined(gradients) if self.joins else gradients


def _any_not_zero(tensors):
    """Whether any element is not zero: a bool if it can be read, otherwise a tensor."""
    readable = _can_be_read(tensors[0])
    if readable and keras.backend.backend() == "torch":
        # For a modality that is present, the first tensor usually settles it.
        return any(bool(tensor.any()) for tensor in tensors)
    types = {keras.backend.standardize_dtype(tensor.dtype) for tensor in tensors}
    if len(types) == 1:  # A few operations for all tensors.
        tensors = [joined(tensors, types.pop())]
    flag = ops.any(
        ops.stack([ops.any(ops.not_equal(t, device_number(0, like=t))) for t in tensors])
    )
    return bool(flag) if readable else flag


def _can_be_read(tensor):
    """Whether the host can read a tensor without waiting for a device."""
    backend = keras.backend.backend()
    if backend == "torch":
        return tensor.device.type == "cpu"
    return backend == "jax" and not in_jax_trace(tensor)


@contextlib.contextmanager
def _kept_unless(present, state):
    """Undo the block's changes to variables if there is no step after all."""
    if present is None:
        yield
        return
    before = [ops.stop_gradient(ops.copy(variable.value)) for variable in state]
    yield
    for variable, value in zip(state, before, strict=True):
        variable.assign(ops.where(present, variable.value, value))


def _step_by_variable(group, rate, gradients, present):
    """Step variable by variable, for optimizers and variables that cannot be joined."""
    with _kept_unless(present, [*group.variables, *group.optimizer.variables]):
        group.optimizer.learning_rate = rate
        group.optimizer.apply(replicas.shares(gradients), group.variables)


def _warn_of_missing(variables, given):
    missing = [variable.path for variable, had in zip(variables, given, strict=True) if not had]
    if missing:
        warnings.warn(
            f"Gradients do not exist for the variables {', '.join(missing)}, which stay as they "
            "are in this step.",
            stacklevel=2,
        )


_warned_of: set[type] = set()


def _warn_of_slow_way(kind):
    """Warn once for each class: many programs build their optimizers again and again."""
    if kind not in _warned_of:
        _warned_of.add(kind)
        warnings.warn(
            f"{kind.__name__} is not known to act element by element, so DecoupledOptimizer "
            "updates one variable after the other and the first step takes longer to compile. "
            "AdamW, SGD and Keras' other elementwise optimizers step on all at once; so does a "
            "class of your own with the attribute elementwise = True.",
            stacklevel=2,
        )


def _averages(optimizer):
    return [slot for slot in optimizer.variables if slot.name.endswith("_average")]


def _fits(key, path):
    """Whether a key of the multipliers is this path, or a beginning of it up to a slash."""
    return f"{path}/".startswith(f"{key}/")


def _checked(optimizer, multipliers):
    """Return the configuration of an optimizer that can be decoupled, or raise."""
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        raise ValueError(
            "DecoupledOptimizer received a LossScaleOptimizer; put the loss scaling outside: "
            "LossScaleOptimizer(DecoupledOptimizer(optimizer))."
        )
    if optimizer.built:
        raise ValueError(
            f"DecoupledOptimizer received the optimizer {optimizer.name!r}, already built; give a "
            "new one, for example `type(optimizer).from_config(optimizer.get_config())`."
        )
    config = configuration(optimizer)
    if "learning_rate" not in config:
        raise ValueError(
            f"DecoupledOptimizer received {type(optimizer).__name__}, which has no learning rate "
            "of its own; give an optimizer that has, such as AdamW."
        )
    for path, factor in multipliers.items():
        if not factor > 0:
            raise ValueError(
                f"DecoupledOptimizer received the learning rate multiplier {factor} for "
                f"{path!r}; give a positive one, and freeze layers with `trainable = False`."
            )
    if multipliers and config["global_clipnorm"] and config["gradient_accumulation_steps"]:
        raise ValueError(
            "DecoupledOptimizer received global_clipnorm, gradient_accumulation_steps and "
            "learning_rate_multipliers; give two of the three, or clipnorm."
        )
    return config
