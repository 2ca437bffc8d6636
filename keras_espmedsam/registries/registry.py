"""A family of things that are chosen by name, to which other packages add."""

import functools
import importlib
import importlib.metadata
from collections.abc import Iterator, Mapping
from typing import Any

from keras_espmedsam.errors import InputError, did_you_mean, warn_of_input


class Registry:
    """Names of one family, such as the losses, and where each is defined.

    Nothing is imported before it is loaded, so that a configuration is checked, and the names are
    listed, without Keras. Another package adds to a family in either of two ways: with an entry
    point, which is found in every program once the package is installed,

        [project.entry-points."keras_espmedsam.losses"]
        tversky = "my_package.losses:TverskyLoss"

    or by calling `register` in the program itself.

    Args:
        family: the last part of the entry points' group, such as `"losses"`.
        noun: what one of them is called in messages, such as `"loss"`.
        built_in: dict of name to `"module:attribute"`.

    Example:
        >>> numbers = Registry("numbers", "number", {"pi": "math:pi"})
        >>> numbers.register("tau", "math:tau")
        >>> numbers.names(), numbers.load("tau") / numbers.load("pi")
        (('pi', 'tau'), 2.0)
        >>> numbers.check("tua")
        Traceback (most recent call last):
        keras_espmedsam.errors.InputError: Received the number 'tua'; expected one of pi, tau; \
did you mean tau?
    """

    def __init__(self, family: str, noun: str, built_in: Mapping[str, str]) -> None:
        self.family = family
        self.noun = noun
        self.group = f"keras_espmedsam.{family}"
        self._built_in = dict(built_in)
        self._registered: dict[str, Any] = {}
        self._told: set[str] = set()

    def names(self) -> tuple[str, ...]:
        """All known names: the built-in ones, then those of other packages."""
        return tuple(
            dict.fromkeys((*self._built_in, *sorted(self._installed()), *self._registered))
        )

    def __contains__(self, name: object) -> bool:
        return name in self.names()

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def check(self, name: object) -> str:
        """Return `name`, or explain that it is unknown.

        Raises:
            InputError: for an unknown name; the message lists the known ones.
        """
        # First the built-in ones: looking for installed packages takes a while.
        if isinstance(name, str) and (name in self._built_in or name in self.names()):
            return name
        raise InputError(
            f"Received the {self.noun} {name!r}; expected one of {', '.join(self.names())}"
            f"{did_you_mean(name, self.names())}"
        )

    def load(self, name: object) -> Any:
        """Import what a name stands for.

        Raises:
            InputError: for an unknown name, and where the package that added it is at fault.
        """
        name = self.check(name)
        if name in self._built_in:
            self._installed()  # Whoever has installed one of this name means that one.
            return _imported(self._built_in[name])
        if name in self._registered:
            target = self._registered[name]
        else:
            target, *others = self._installed()[name]
            if others:
                raise InputError(
                    f"The {self.noun} {name!r} is added by several packages, as {target!r} and "
                    f"{others[0]!r}; remove one of them."
                )
        if not isinstance(target, str):
            return target
        try:
            return _imported(target)
        # Whatever the module of another package raises when it is imported: a script, as which one
        # may be written, ends the program.
        except (Exception, SystemExit) as error:
            reason = (str(error).splitlines() or ["no reason given"])[0]
            raise InputError(
                f"The {self.noun} {name!r}, which another package added as {target!r}, cannot be "
                f"imported ({type(error).__name__}: {reason}); mend or remove that package."
            ) from error

    def import_others(self) -> list[str]:
        """Import what other packages have added; what cannot be imported is passed over.

        A saved file names classes that Keras finds once they are defined.

        Returns:
            A sentence for each that cannot be imported.
        """
        faults = []
        for name in self.names():
            if name not in self._built_in:
                try:
                    self.load(name)
                except InputError as error:
                    faults.append(str(error))
        return faults

    def register(self, name: str, target: Any) -> None:
        """Add a name in this program; see the class for how a package adds one for good.

        Args:
            name: how it is chosen.
            target: the object itself, or where it is: `"module:attribute"`.

        Raises:
            InputError: when the name is taken, by something else, or is no plain string.
        """
        if not isinstance(name, str) or not name:
            raise InputError(f"Received {name!r} as the name of a {self.noun}; expected a string.")
        if isinstance(target, str) and not all(target.partition(":")):
            raise InputError(
                f"Received {target!r} as the place of the {self.noun} {name!r}; expected "
                '"module:attribute", or the object itself.'
            )
        if target is None:
            raise InputError(
                f"Received None as the {self.noun} {name!r}; expected the object itself, or "
                '"module:attribute".'
            )
        before = self._registered.get(name)
        # A package may do both: what it registers is what its entry point names.
        installed = self._installed().get(name, ()) if before is None else ()
        is_known = name in self._built_in or name in self._registered or bool(installed)
        if is_known and not (_is_same(before, target) or installed == (_place(target),)):
            raise InputError(
                f"Received a {self.noun} named {name!r}, which there is already; choose another "
                "name."
            )
        self._registered[name] = target

    def unregister(self, name: str) -> None:
        """Remove what `register` added, as a test does when it ends."""
        self._registered.pop(name, None)

    def _installed(self) -> dict[str, tuple[str, ...]]:
        """What installed packages add, each name with its places; warns of names that are taken."""
        found = _entry_points(self.group)
        taken = {name: places for name, places in found.items() if name in self._built_in}
        for name, places in taken.items():
            others = [place for place in places if place != self._built_in[name]]
            if others and name not in self._told:
                self._told.add(name)
                warn_of_input(
                    f"The {self.noun} {name!r} that an installed package adds as {others[0]!r} is "
                    "passed over: there is a built-in one of that name; rename it in that package.",
                    3,
                )
        return {name: places for name, places in found.items() if name not in taken}


def _imported(target: str) -> Any:
    module, _, attribute = target.partition(":")
    # An entry point may end in extras, "module:attribute [extra]", and may name a module alone.
    attribute = attribute.partition("[")[0].strip()
    found = importlib.import_module(module.partition("[")[0].strip())
    return functools.reduce(getattr, attribute.split("."), found) if attribute else found


def _place(target: Any) -> Any:
    """Where a class or a function is, as an entry point says it."""
    if isinstance(target, str):
        return target
    return f"{getattr(target, '__module__', None)}:{getattr(target, '__qualname__', None)}"


def _is_same(before: Any, target: Any) -> bool:
    """Whether it is registered again, perhaps defined anew, as a notebook's cell that is run again.

    Classes and functions are told apart by where and as what they were defined.
    """
    if before is None or before == target:
        return before is not None
    places = [
        (getattr(one, "__module__", None), getattr(one, "__qualname__", "<lambda>"))
        for one in (before, target)
    ]
    return places[0] == places[1] and "<lambda>" not in places[0][1]


@functools.cache
def _entry_points(group: str) -> dict[str, tuple[str, ...]]:
    # Installed packages do not change while a program runs. Each name with the places that packages
    # give for it, unread: one that is no place is told when it is loaded.
    found: dict[str, dict[str, None]] = {}
    for one in importlib.metadata.entry_points(group=group):
        found.setdefault(one.name, {})[one.value] = None
    return {name: tuple(places) for name, places in found.items()}
