"""Draw the house: the package's rooms, what imports what, circles, and arrows that run upward.

    python tools/house.py                                  # this checkout
    python tools/house.py --root OLD_CHECKOUT              # another one
    python tools/house.py --check                          # exit code 1 for a circle or an arrow

A room is a folder or a file at the top of the package. An import within a function counts like any
other; one under `if TYPE_CHECKING:` does not. Only the standard library is needed, and nothing of
the package is run.
"""

import argparse
import ast
import dataclasses
import pathlib
import sys

PACKAGE = "keras_espmedsam"
# From the bottom to the top; those of one line import each other in one direction or not at all.
FLOORS = (
    (
        *("errors", "registries", "_compile_cache", "_compile_notice", "_files", "_renamed"),
        *("_plain_file", "_shown", "_startup", "_upward"),
    ),
    ("imaging", "ops"),
    ("layers", "losses", "metrics", "optimizers"),
    ("data",),
    ("hub",),
    ("dicom",),
    ("inference",),
    ("models",),
    ("evaluation", "export", "converters"),
    ("training",),
    ("distillation",),
    ("serve", "archive"),
    ("cli", "napari"),
)
# Where rooms of version 0.1.0 were on the same floors.
FORMER = {
    "_backend": "_startup",
    "_extras": "_startup",
    "checksums": "hub",
    "initial_values": "hub",
    "preset_registry": "hub",
    "recognition": "inference",
    "checkpoints": "converters",
}
OUTSIDE = ("benchmarks", "examples", "tools")


@dataclasses.dataclass
class House:
    """The modules of a package and their imports.

    Args:
        modules: dict of a module's name, without the package's, to its file; "" is the package.
        imports: dict of a module's name to the names of those that it imports.
    """

    modules: dict
    imports: dict

    @classmethod
    def of(cls, root, package=PACKAGE):
        """Read the package in the folder `root`."""
        modules = {}
        for path in sorted((root / package).rglob("*.py")):
            parts = path.relative_to(root / package).with_suffix("").parts
            modules[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
        imports = {}
        for name, path in modules.items():
            base = name if path.name == "__init__.py" else name.rpartition(".")[0]
            found = {
                one
                for target in imported(ast.parse(path.read_text(encoding="utf-8")), package, base)
                if (one := nearest(target, modules)) != name
            }
            imports[name] = found
        return cls(modules, imports)

    def room(self, module):
        """The room in which a module lies; the package's own `__init__` is the front door."""
        return module.partition(".")[0] or "(front door)"

    def between_rooms(self):
        """dict of room to the rooms that it imports, with the pairs of modules that do so."""
        rooms = {self.room(module): {} for module in self.modules}
        for module, targets in self.imports.items():
            for target in targets:
                here, there = self.room(module), self.room(target)
                if here != there:
                    rooms[here].setdefault(there, []).append((module, target))
        return rooms

    def upward(self):
        """Imports that run from a floor to a higher one: list of pairs of modules."""
        floor = {room: i for i, rooms in enumerate(FLOORS) for room in rooms}
        found = []
        for here, targets in self.between_rooms().items():
            for there, pairs in targets.items():
                low, high = (floor.get(FORMER.get(room, room)) for room in (here, there))
                if low is not None and high is not None and high > low:
                    found += pairs
        return sorted(found)

    def file_circles(self):
        """Files that import each other in a circle: list of sorted lists."""
        return circles({module: targets for module, targets in self.imports.items() if module})

    def room_circles(self):
        """Rooms that import each other in a circle."""
        rooms = {here: set(targets) for here, targets in self.between_rooms().items()}
        rooms.pop("(front door)", None)
        return circles(rooms)


def imported(tree, package, base):
    """What a file imports of the package: names without the package's, longest first.

    Args:
        tree: of `ast`.
        package: the package's name.
        base: the package that relative imports begin from, without the package's name.
    """
    for node in imports_of(tree):
        if isinstance(node, ast.Call):
            names = [node.args[0].value]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif node.level:
            start = [package, *filter(None, base.split("."))]
            start = start[: len(start) - node.level + 1]
            source = ".".join([*start, *([node.module] if node.module else [])])
            names = [f"{source}.{alias.name}" for alias in node.names]
        else:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            if name == package or name.startswith(f"{package}."):
                yield name.removeprefix(package).removeprefix(".")


def imports_of(node):
    """All import statements below a node, but those for type checkers alone.

    `import_module("...")` is one too; what is imported by a name from a table is not seen.
    """
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom) or is_import_call(child):
            yield child
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            for other in child.orelse:
                yield from imports_of(other)
        else:
            yield from imports_of(child)


def is_import_call(node):
    """Whether a node is `importlib.import_module` of a name that is written out."""
    return (
        isinstance(node, ast.Call)
        and ast.unparse(node.func).rpartition(".")[2] == "import_module"
        and bool(node.args)
        and isinstance(node.args[0], ast.Constant)
        and isinstance(node.args[0].value, str)
    )


def nearest(name, modules):
    """The module that a name such as `losses.dice_loss.DiceLoss` is imported from."""
    while name and name not in modules:
        name = name.rpartition(".")[0]
    return name


def circles(graph):
    """The strongly connected components of more than one member (Tarjan's algorithm)."""
    index, low, stack, found = {}, {}, [], []

    def visit(node):
        index[node] = low[node] = len(index)
        stack.append(node)
        for target in graph.get(node, ()):
            if target not in graph:
                continue
            if target not in index:
                visit(target)
                low[node] = min(low[node], low[target])
            elif target in stack:
                low[node] = min(low[node], index[target])
        if low[node] == index[node]:
            members = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(members) > 1:
                found.append(sorted(members))

    for node in sorted(graph):
        if node not in index:
            visit(node)
    return sorted(found)


def private_imports(root, package=PACKAGE):
    """Private modules of the package that files outside of it import: list of (file, module)."""
    found = []
    for folder in OUTSIDE:
        for path in sorted((root / folder).rglob("*.py")):
            for name in imported(ast.parse(path.read_text(encoding="utf-8")), package, ""):
                if any(
                    part.startswith("_") and not part.endswith("__") for part in name.split(".")
                ):
                    found.append((path.relative_to(root).as_posix(), name))
    return sorted(set(found))


def describe(house, root, package=PACKAGE):
    """The whole drawing, as lines of Markdown."""
    lines = {name: len(path.read_text(encoding="utf-8").splitlines())
             for name, path in house.modules.items()}  # fmt: skip
    rooms = house.between_rooms()
    files = {room: [m for m in house.modules if house.room(m) == room] for room in rooms}
    inner = [room for room in rooms if room != "(front door)"]
    upward, file_circles = house.upward(), house.file_circles()
    longest = max(lines, key=lines.get)
    private = private_imports(root, package)
    yield "| | |"
    yield "|---|---|"
    yield f"| rooms | {len(inner)} |"
    yield f"| files | {len(lines)}, {sum(lines.values()):,} lines |"
    yield f"| longest file | `{longest.replace('.', '/')}.py`, {lines[longest]} lines |"
    yield f"| imports from room to room | {sum(len(rooms[room]) for room in inner)} |"
    yield f"| circles of files | {len(file_circles)}{sizes(file_circles)} |"
    yield f"| circles of rooms | {len(house.room_circles())}{sizes(house.room_circles())} |"
    yield f"| arrows that run upward | {len(upward)} |"
    yield f"| private modules used by {', '.join(OUTSIDE)} | {len(private)} |"
    for circle in file_circles:
        yield f"\nCircle of files: {', '.join(circle)}"
    for circle in house.room_circles():
        yield f"\nCircle of rooms: {', '.join(circle)}"
    for here, there in upward:
        yield f"\nUpward: {here} imports {there}"
    for file, module in private:
        yield f"\nPrivate: {file} imports {module}"
    yield "\n| room | files | lines | imports |"
    yield "|---|---|---|---|"
    floor = {room: i for i, level in enumerate(FLOORS) for room in level}
    for room in sorted(inner, key=lambda one: (-floor.get(FORMER.get(one, one), -1), one)):
        size = sum(lines[module] for module in files[room])
        yield f"| {room} | {len(files[room])} | {size:,} | {', '.join(sorted(rooms[room]))} |"


def sizes(found):
    return f" ({', '.join(str(len(one)) for one in found)} members)" if found else ""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    here = pathlib.Path(__file__).resolve().parents[1]
    parser.add_argument("--root", type=pathlib.Path, default=here, help="the checkout")
    parser.add_argument("--package", default=PACKAGE)
    parser.add_argument("--check", action="store_true", help="fail on circles and upward arrows")
    parser.add_argument("--quiet", action="store_true", help="print only where there are faults")
    options = parser.parse_args()
    house = House.of(options.root, options.package)
    faulty = bool(house.upward() or house.file_circles() or house.room_circles())
    if faulty or not options.quiet:
        print("\n".join(describe(house, options.root, options.package)))
    sys.exit(1 if options.check and faulty else 0)


if __name__ == "__main__":
    main()
