"""Update all variables of an optimizer at once, joined to one vector per state.

An optimizer's step is some twenty operations per variable, for hundreds of variables: most of what
a backend compiles before the first result, and of its work between two. An elementwise optimizer
gives the same numbers on all variables joined.
"""

import contextlib

import keras
import numpy as np
from keras import ops

from keras_espmedsam.optimizers import replicas
from keras_espmedsam.optimizers.elementwise import is_elementwise
from keras_espmedsam.optimizers.flat_tensors import in_jax_trace, joined, opaque_offsets, spread


def can_be_flat(optimizer, variables):
    """Whether the step of an optimizer on some variables can be taken on vectors.

    Args:
        optimizer: `keras.optimizers.Optimizer`, the pattern.
        variables: list of `keras.Variable`.

    Returns:
        bool.

    Example:
        >>> can_be_flat(keras.optimizers.Adam(), [keras.Variable([1.0])])
        True
    """
    distribution = keras.distribution.distribution()
    return (
        is_elementwise(optimizer)
        # Keras on TensorFlow has each replica update its own.
        and replicas.count() == 1
        and (distribution is None or isinstance(distribution, keras.distribution.DataParallel))
        # The mean of accumulated gradients is clipped inside the optimizer, per variable.
        and not (optimizer.clipnorm and optimizer.gradient_accumulation_steps)
        and all(
            variable.constraint is None
            and not getattr(variable, "overwrite_with_gradient", False)
            and keras.backend.is_float_dtype(variable.dtype)
            for variable in variables
        )
    )


class FlatStep:
    """The step of an optimizer, taken by a twin whose variables are vectors.

    The optimizer's own variables stay as they are, one per variable and state, so that files,
    averages and other readers find what they expect. They are joined before the step and get
    their parts of the result afterwards; the twin keeps nothing.

    Args:
        optimizer: `keras.optimizers.Optimizer`, built for `variables`.
        slots: dict of `id(variable)` to the list of its states, from `built`.
        config: dict, the configuration of the twin.
        variables: list of `keras.Variable`.
        exempt: list of variables that do not decay.

    Raises:
        ValueError: for an optimizer that declares itself elementwise but keeps other states.
    """

    def __init__(self, optimizer, slots, config, variables, exempt):
        self.clipnorm = config["clipnorm"]
        # Whether averages and sums of gradients change for a variable without a gradient follows
        # Keras, where it depends on the backend.
        self._needs_all = bool(config["use_ema"] or config["gradient_accumulation_steps"])
        exempt = {id(variable) for variable in exempt}
        parts = {}
        for i, variable in enumerate(variables):
            parts.setdefault((variable.dtype, id(variable) in exempt), []).append(i)
        self._indices = list(parts.values())
        self._variables = variables
        self._twin = type(optimizer).from_config({**config, "clipnorm": None})
        with _unallocated():
            self._vectors = [
                keras.Variable(
                    shape=(sum(int(np.prod(variables[i].shape)) for i in indices),),
                    initializer="zeros",
                    dtype=dtype,
                    trainable=False,
                    name=f"vector_{k}",
                )
                for k, ((dtype, _), indices) in enumerate(parts.items())
            ]
        left = [v for v, (_, out) in zip(self._vectors, parts, strict=True) if out]
        self._twin.exclude_from_weight_decay(var_list=left)
        twin_slots = built(self._twin, self._vectors, _unallocated)
        # Per vector: the variables joined to it, and the twin's vectors that it becomes.
        self._leaves, self._joint = [], []
        for vector, indices in zip(self._vectors, self._indices, strict=True):
            own = [variables[i] for i in indices]
            states = zip(*(slots.get(id(variable), ()) for variable in own), strict=True)
            self._leaves.append([own, *map(list, states)])
            self._joint.append([vector, *twin_slots.get(id(vector), ())])
        self._single = _others(optimizer, slots), _others(self._twin, twin_slots)
        if list(map(len, self._leaves)) != list(map(len, self._joint)) or (
            len(self._single[0]) != len(self._single[1])
        ):
            raise ValueError(
                f"{type(optimizer).__name__} says elementwise = True, but keeps other states than "
                "by `add_optimizer_variables` or `add_variable_from_reference`; remove it."
            )

    def takes(self, given):
        """Whether this can take the step; `given` is as for `apply`."""
        return all(given) or (any(given) and not self._needs_all)

    def joined(self, gradients):
        """Join gradients to a list of vectors for the twin; `None` among them becomes zeros."""
        if self.clipnorm:
            gradients = [g if g is None else _clipped_by_norm(g, self.clipnorm) for g in gradients]
        filled = [
            ops.zeros(variable.shape, variable.dtype) if gradient is None else gradient
            for gradient, variable in zip(gradients, self._variables, strict=True)
        ]
        return [
            joined([filled[i] for i in indices], vector.dtype)
            for indices, vector in zip(self._indices, self._vectors, strict=True)
        ]

    def apply(self, gradients, given, present=None):
        """Take the step.

        Args:
            gradients: list of vectors, from `joined`.
            given: list of bool, whether each variable had a gradient; the others do not change.
            present: boolean tensor, whether there is a step at all, or `None` for yes.
        """
        before = [
            [joined(leaves, vector.dtype) for leaves in states]
            for states, vector in zip(self._leaves, self._vectors, strict=True)
        ]
        single = [variable.value for variable in self._single[0]]
        if in_jax_trace(present) and _on_processor():
            # Nothing is computed for an absent modality, and XLA cannot merge the step into each
            # of the parts.
            after, single = ops.cond(
                present,
                lambda: self._after(gradients, before, single),
                lambda: (before, single),
            )
            present = None
        else:
            after, numbers = self._after(gradients, before, single)
            if present is not None:
                single = [
                    ops.where(present, new, old) for new, old in zip(numbers, single, strict=True)
                ]
            else:
                single = numbers
        count = single[0]
        for k, leaves in enumerate(self._leaves):
            moves = self._moves(self._indices[k], given, present)
            offsets = opaque_offsets(leaves[0], count)
            for new, old, own in zip(after[k], before[k], leaves, strict=True):
                spread(new if moves is None else ops.where(moves, new, old), own, offsets)
        for variable, value in zip(self._single[0], single, strict=True):
            variable.assign(value)

    def _moves(self, indices, given, present):
        """Return which elements of a vector take the step; `None` for all of them."""
        if all(given[i] for i in indices):
            return present
        moves = np.concatenate(
            [np.full(int(np.prod(self._variables[i].shape)), given[i]) for i in indices]
        )
        moves = ops.convert_to_tensor(moves)
        return moves if present is None else ops.logical_and(moves, present)

    def _after(self, gradients, before, single):
        """Return the states after a step of the twin: vectors and single numbers."""
        joint = [variable for states in self._joint for variable in states]
        values = [value for states in before for value in states]
        if keras.backend.backend() == "jax":
            found = {id(v): x for v, x in zip(joint, values, strict=True)}
            found |= {id(v): x for v, x in zip(self._single[1], single, strict=True)}
            moved, states = self._twin.stateless_apply(
                [found[id(v)] for v in self._twin.variables],
                gradients,
                [found[id(v)] for v in self._vectors],
            )
            found = {id(v): x for v, x in zip(self._twin.variables, states, strict=True)}
            found |= {id(v): x for v, x in zip(self._vectors, moved, strict=True)}
        else:
            variables = [*joint, *self._single[1]]
            for variable, value in zip(variables, [*values, *single], strict=True):
                variable.assign(value)
            self._twin.apply(gradients, self._vectors)
            found = {id(v): ops.stop_gradient(v.value) for v in variables}
        return (
            [[found[id(v)] for v in states] for states in self._joint],
            [found[id(v)] for v in self._single[1]],
        )


def built(optimizer, variables, context=contextlib.nullcontext):
    """Build an optimizer, and return which states it keeps for which variable.

    Args:
        optimizer: `keras.optimizers.Optimizer`, not built.
        variables: list of `keras.Variable`.
        context: context manager in which the states are made.

    Returns:
        dict of `id(variable)` to the list of its states, in the optimizer's order.

    Example:
        >>> weight = keras.Variable([1.0])
        >>> [slots] = built(keras.optimizers.Adam(), [weight]).values()
        >>> len(slots)
        2
    """
    slots = {}
    add = optimizer.add_variable_from_reference

    def adding(reference_variable, *args, **kwargs):
        with context():
            slot = add(reference_variable, *args, **kwargs)
        slots.setdefault(id(reference_variable), []).append(slot)
        return slot

    vars(optimizer)["add_variable_from_reference"] = adding
    try:
        optimizer.build(variables)
    finally:
        del vars(optimizer)["add_variable_from_reference"]
    return slots


def _others(optimizer, slots):
    """Return an optimizer's variables that belong to no model variable: count, rate, ..."""
    known = {id(slot) for states in slots.values() for slot in states}
    return [variable for variable in optimizer.variables if id(variable) not in known]


def _unallocated():
    """Create variables without memory on JAX within the block: the twin's are never read."""
    if keras.backend.backend() != "jax":
        return contextlib.nullcontext()
    return keras.StatelessScope(initialize_variables=False)


def _on_processor():
    import jax

    # On an accelerator, a branch waits for the host to read its condition.
    return jax.default_backend() == "cpu"


def _clipped_by_norm(gradient, limit):
    """Clip a gradient as Keras does by `clipnorm`."""
    squares = ops.sum(ops.square(gradient))
    positive = squares > 0
    norm = ops.where(positive, ops.sqrt(ops.where(positive, squares, 1.0)), squares)
    return ops.multiply(gradient, limit) / ops.maximum(norm, limit)
