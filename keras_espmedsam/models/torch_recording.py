"""Record PyTorch's operations for one input as a program that runs for others.

Operations without any input are not replayed: index tensors and masks are kept as they were, and so
are views of weights, which follow their weight. Values computed from a weight are recomputed.
"""

import math

import keras
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode  # As in "Extending PyTorch".
from torch.utils.weak import WeakTensorKeyDictionary

# Limit on all kept tensors; those beyond it are recomputed each time.
MAX_CONSTANT_BYTES = 2**26

# Kinds of tensors: an input or recomputed; a weight or a view of one; constant.
_RECOMPUTED, _WEIGHT, _CONSTANT = "recomputed", "weight", "constant"

# Functions that read a tensor's values without PyTorch noticing.
_READERS = {
    torch.Tensor.numpy,
    torch.Tensor.tolist,
    torch.Tensor.__array__,
    torch.Tensor.__dlpack__,
}
_VALUE_DEPENDENT = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}


class _NotRepeatableError(Exception):
    """The operations depend on values that another input would not have."""


def record(function, inputs, weights):
    """Call a function and record PyTorch's operations.

    Args:
        function: takes one list of tensors, returns a structure of tensors.
        inputs: list of tensors.
        weights: list of tensors that keep their memory for as long as the program is used; their
            values may change.

    Returns:
        The function's outputs, and the program: a function from a list of tensors of the same
        shapes, dtypes and device to the outputs for them. The program is `None` if the function
        reads values of its inputs or weights, or writes into them.

    Example:
        >>> with torch.no_grad():
        ...     _, double = record(lambda inputs: 2 * inputs[0], [torch.ones(2)], [])
        >>> double([torch.full((2,), 4.0)])
        tensor([8., 8.])
    """
    inputs = [one.detach() for one in inputs]  # Distinct objects, even if one is given twice.
    recording = _Recording(inputs, weights)
    try:
        with _Readers(recording), recording:
            outputs = function(inputs)
        return outputs, recording.program(outputs)
    except Exception:  # Keras re-raises every error as another; a real error occurs again below.
        return function(inputs), None


class _Readers(TorchFunctionMode):
    """Raises if values are read in a way that a recording would miss."""

    def __init__(self, recording):
        super().__init__()
        self.recording = recording

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func in _READERS and self.recording.kind(args[0]) != _CONSTANT:
            raise _NotRepeatableError
        return func(*args, **(kwargs or {}))


class _Recording(TorchDispatchMode):
    """The operations and, for each tensor, its number, its kind and whose memory it shares."""

    def __init__(self, inputs, weights):
        super().__init__()
        self.steps = []  # (operation, args, kwargs, outputs, whether it writes); tensors by number.
        self.kinds, self.roots = [], []
        self.kept = {}  # Tensors that are not recomputed, by number.
        self.written, self.overwritten = set(), set()  # Roots.
        self.constant_bytes = 0
        # Weak, so that the model's memory is freed as soon as the model drops it.
        self.numbers = WeakTensorKeyDictionary()
        self.inputs = [self._add(tensor, _RECOMPUTED) for tensor in inputs]
        for weight in weights:
            if weight not in self.numbers:
                self.kept[self._add(weight, _WEIGHT)] = weight
        self.foreign = set(self.roots)  # Roots that must not be written to.

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        tensors = _tensors_in((args, kwargs))
        if any(type(one) not in (torch.Tensor, torch.nn.Parameter) for one in tensors):
            raise _NotRepeatableError
        if func is torch.ops.aten.lift_fresh.default and args[0] not in self.numbers:
            # Made from numbers just now; operations that write into it are not replayed.
            number = self._add(args[0], _CONSTANT)
            self.kept[number] = args[0]
            self.foreign.add(number)
        roots = {_memory(one): self.roots[self._number(one)] for one in tensors}
        kind = self._outcome(func, args, tensors)
        written = self._write(func, args, kwargs, kind)
        step = (func, *_numbered((args, kwargs), self.numbers))
        outputs = func(*args, **kwargs)
        for one in _tensors_in(outputs):
            if one not in self.numbers:
                self._add_output(one, kind, roots.get(_memory(one)))
        self.steps.append((*step, _numbered(outputs, self.numbers), written))
        return outputs

    def kind(self, tensor):
        """Return a tensor's kind."""
        number = self._number(tensor)
        return _RECOMPUTED if self.roots[number] in self.overwritten else self.kinds[number]

    def _number(self, tensor):
        if tensor not in self.numbers:
            # An existing tensor, not a weight: used by reference; its results are recomputed.
            number = self._add(tensor, _RECOMPUTED)
            self.foreign.add(number)
            self.kept[number] = tensor
        return self.numbers[tensor]

    def _add(self, tensor, kind, root=None):
        number = _Number(len(self.kinds))
        self.kinds.append(kind)
        self.roots.append(number if root is None else root)
        self.numbers[tensor] = number
        return number

    def _add_output(self, tensor, kind, root):
        if kind == _WEIGHT and (root is None or self.kinds[root] != _WEIGHT):
            kind = _RECOMPUTED  # Computed from a weight, not a view of it.
        if kind == _CONSTANT and root is None:
            self.constant_bytes += tensor.nbytes
            if self.constant_bytes > MAX_CONSTANT_BYTES:
                kind = _RECOMPUTED
        number = self._add(tensor, kind, root)
        if kind != _RECOMPUTED:
            self.kept[number] = tensor

    def _outcome(self, func, args, tensors):
        """Return the kind of an operation's outputs."""
        kinds = {self.kind(one) for one in tensors}
        if _VALUE_DEPENDENT & set(func.tags) and kinds - {_CONSTANT}:
            # Indexing depends on values only if the index is a mask.
            if func is not torch.ops.aten.index.Tensor or any(
                one.dtype in (torch.bool, torch.uint8) for one in args[1] if one is not None
            ):
                raise _NotRepeatableError
        if _RECOMPUTED in kinds or torch.Tag.nondeterministic_seeded in func.tags:
            return _RECOMPUTED
        return _WEIGHT if _WEIGHT in kinds else _CONSTANT

    def _write(self, func, args, kwargs, kind):
        """Whether an operation writes into an argument, which is allowed for new tensors."""
        if not func._schema.is_mutable:
            return False
        for position, argument in enumerate(func._schema.arguments):
            if argument.alias_info is None or not argument.alias_info.is_write:
                continue
            value = args[position] if position < len(args) else kwargs.get(argument.name)
            for tensor in _tensors_in(value):
                root = self.roots[self.numbers[tensor]]
                if root in self.foreign:
                    raise _NotRepeatableError
                self.written.add(root)
                if kind != _CONSTANT:
                    self.overwritten.add(root)
        return True

    def program(self, outputs):
        """Return the function of a list of inputs that replays all operations."""
        outputs = _numbered(outputs, self.numbers)
        constants = {
            number: tensor
            for number, tensor in self.kept.items()
            if self.roots[number] not in self.written
        }
        live, steps = set(_numbers_in(outputs)), []
        for step in reversed(self.steps):
            _, args, kwargs, made, written = step
            if written or any(one in live and one not in constants for one in _numbers_in(made)):
                steps.append(step)
                live.update(_numbers_in((args, kwargs)))
        return _compiled(steps[::-1], self.inputs, outputs, constants)


# === Tensors by number ===


class _Number(int):
    """A tensor's number; the class distinguishes it from integer arguments of operations."""


def _tensors_in(values):
    return [one for one in keras.tree.flatten(values) if isinstance(one, torch.Tensor)]


def _numbers_in(values):
    return [one for one in keras.tree.flatten(values) if isinstance(one, _Number)]


def _numbered(values, numbers):
    return keras.tree.map_structure(
        lambda one: numbers[one] if isinstance(one, torch.Tensor) else one, values
    )


def _memory(tensor):
    """Identify a tensor's memory while the tensor exists."""
    place = tensor.untyped_storage().data_ptr()
    return (tensor.device, place) if place else id(tensor)


# === The program ===


def _compiled(steps, inputs, outputs, constants):
    """Build a Python function with one line per step, which frees tensors after their last use."""
    last_use = {}
    for index, (_, args, kwargs, made, _) in enumerate(steps):
        last_use.update(dict.fromkeys(_numbers_in((args, kwargs, made)), index))
    staying = {*_numbers_in(outputs), *constants}
    ending = [[] for _ in steps]
    for number, index in last_use.items():
        if number not in staying:
            ending[index].append(f"t{number}")
    names = _Names(constants)
    lines = [f"{''.join(f't{number}, ' for number in inputs)} = inputs"]
    lines.append("del inputs")
    for (func, args, kwargs, made, _), ended in zip(steps, ending, strict=True):
        named = [f"{key}={names.of(value)}" for key, value in kwargs.items()]
        call = f"{names.bound(func)}({', '.join([*map(names.of, args), *named])})"
        lines.append(f"{_targets(made, constants)} = {call}")
        if ended:
            lines.append(f"del {', '.join(ended)}")
    found = keras.tree.flatten(outputs)
    lines.append(f"return [{', '.join(map(names.output, found))}]")
    exec("def program(inputs):\n  " + "\n  ".join(lines), names.values)
    program = names.values["program"]
    return lambda inputs: keras.tree.pack_sequence_as(outputs, program(inputs))


def _targets(made, constants):
    """Return the assignment targets for an operation's outputs."""
    if isinstance(made, list | tuple):
        return "".join(f"{_targets(one, constants)}, " for one in made)
    # A kept tensor already has a name.
    return f"t{made}" if isinstance(made, _Number) and made not in constants else "_"


class _Names:
    """Python source for an operation's arguments; `values` maps names to objects."""

    def __init__(self, constants):
        self.constants = constants
        self.values = {}
        self._bound = {}

    def of(self, value):
        if isinstance(value, _Number):
            if value not in self.constants:
                return f"t{value}"
            return self.bound(self.constants[value])
        if isinstance(value, list | tuple):
            return f"[{', '.join(map(self.of, value))}]"
        if type(value) in (bool, int, type(None)) or (
            type(value) is float and math.isfinite(value)
        ):
            return repr(value)
        return self.bound(value)

    def bound(self, value):
        """Return a name for an object held by reference."""
        if id(value) not in self._bound:
            self._bound[id(value)] = f"c{len(self._bound)}"
            self.values[self._bound[id(value)]] = value
        return self._bound[id(value)]

    def output(self, value):
        # A copy, so that callers cannot write into the kept tensor.
        is_kept = isinstance(value, _Number) and value in self.constants
        return self.of(value) + (".clone()" if is_kept else "")
