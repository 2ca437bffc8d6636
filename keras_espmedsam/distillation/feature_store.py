"""Arrays by key in memory-mapped files that stay valid if the process is killed."""

import contextlib
import json
import os
import shutil
import zlib
from pathlib import Path
from urllib.parse import quote

import numpy as np

from keras_espmedsam._files import atomic_path, locked, remove_leftovers
from keras_espmedsam._plain_file import check_plain_file
from keras_espmedsam.errors import InputError

ABOUT, JOURNAL, LOCK = "about.json", "entries.jsonl", "lock"


class FeatureStore:
    """A folder of half-precision arrays, several (the features) for each key.

    Every feature has files of many entries, `<number>.<feature>.npy`; a journal, `entries.jsonl`,
    says which entry lies where. A line is added to the journal only after the arrays have reached
    the disk. What a killed process left unfinished has no line, and its space is reused.

    Args:
        folder: used by this store only; created at the first write.
        about: JSON-able dict that describes the arrays. A folder with another one is rejected.
        shapes: dict of feature name to shape.

    Raises:
        InputError: if the folder holds something else.
    """

    def __init__(self, folder, about, shapes):
        self.folder = Path(folder)
        self.shapes = {name: tuple(shape) for name, shape in sorted(shapes.items())}
        features = {name: list(shape) for name, shape in self.shapes.items()}
        self.about = {"version": 1, **about, "features": features}
        self.entry_bytes = sum(2 * int(np.prod(shape)) for shape in self.shapes.values())
        self._check_about()
        self._maps, self._verified = {}, set()
        self.refresh()

    # === Reading ===

    def __contains__(self, key):
        return key in self._entries

    def __len__(self):
        return len(self._entries)

    def get(self, key):
        """Return the arrays of one key, read-only; the first read verifies their checksums.

        Raises:
            KeyError: for an unknown key.
            InputError: for a damaged entry, which is removed from the journal.
        """
        file, slot, checksums = self._entries[key]
        arrays = {name: array[slot] for name, array in self._opened(file).items()}
        if key not in self._verified:
            found = {name: zlib.crc32(array) for name, array in arrays.items()}
            if found != checksums:
                self._strike(key)
                raise InputError(
                    f"An entry of the cache in {self.folder} is damaged (its checksum differs) and "
                    "has been removed from it; build the cache again, which computes what is "
                    "missing."
                )
            self._verified.add(key)
        return arrays

    def refresh(self):
        """Read the journal again, since another process may have written to it."""
        self._entries, self._dirty = {}, False
        try:
            check_plain_file(self.folder / JOURNAL)
            lines = (self.folder / JOURNAL).read_bytes().split(b"\n")
        except FileNotFoundError:
            lines = [b""]
        except OSError as error:
            raise InputError(
                f"The cache in {self.folder} cannot be read: {JOURNAL}: {error.strerror}; fix "
                "that or choose another folder."
            ) from error
        self._dirty = bool(lines.pop())  # The last line is incomplete.
        for line in lines:
            try:
                key, *place = json.loads(line)
                file, slot, checksums = place if place else (None, None, None)
                if file is not None and checksums.keys() != self.shapes.keys():
                    raise ValueError
            except (ValueError, TypeError, AttributeError):
                self._dirty = True
                continue
            self._entries.pop(key, None)
            if file is None:
                self._dirty = True
            else:
                self._entries[key] = (file, slot, checksums)
        self._match_files()

    # === Writing ===

    @contextlib.contextmanager
    def writing(self):
        """Make this process the only writer; first remove what a killed one left behind.

        Raises:
            InputError: if another process is writing, or the folder cannot be written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileNotFoundError):
                check_plain_file(self.folder / LOCK)
            lock = (self.folder / LOCK).open("a")
        except OSError as error:
            raise self._unwritable(error) from error
        with lock:
            if not locked(lock):
                raise InputError(
                    f"Another process is building the cache in {self.folder}; wait until it has "
                    "ended, or stop it: the finished part is kept."
                )
            self.refresh()
            self._tidy()
            yield self

    def new_bytes(self, count):
        """Return the bytes that `count` more entries take on disk beyond the reserved space."""
        return max(0, count - len(self._free)) * self.entry_bytes

    def reserve(self, count):
        """Reserve space for `count` more entries.

        Raises:
            InputError: if the disk has too little space; nothing is left behind then.
        """
        count -= len(self._free)
        if count <= 0:
            return
        number = max(self._files(), default=-1) + 1
        made = []
        try:
            for name, shape in self.shapes.items():
                path = self._path(number, name)
                with atomic_path(path) as temporary:
                    array = np.lib.format.open_memmap(temporary, "w+", "float16", (count, *shape))
                    array.flush()
                    del array
                    # A sparse file would kill the process (SIGBUS) once the disk is full.
                    with temporary.open("r+b") as file:
                        if hasattr(os, "posix_fallocate"):
                            os.posix_fallocate(file.fileno(), 0, temporary.stat().st_size)
                        os.fsync(file.fileno())
                made.append(path)
            self._free += [(number, slot) for slot in range(count)]
        except OSError as error:
            for path in made:
                path.unlink()
            raise self._unwritable(error) from error

    def put(self, keys, features):
        """Write entries into reserved space: arrays first, then their journal lines.

        Args:
            keys: list of str.
            features: dict of feature name to float16 `(len(keys), *shape)`.
        """
        slots, self._free = self._free[: len(keys)], self._free[len(keys) :]
        touched, lines = {}, []
        for i, (key, (file, slot)) in enumerate(zip(keys, slots, strict=True)):
            if file not in touched:
                touched[file] = self._mapped(file, "r+")
            checksums = {}
            for name, array in touched[file].items():
                value = np.ascontiguousarray(features[name][i])
                array[slot] = value
                checksums[name] = zlib.crc32(value)
            lines.append((key, file, slot, checksums))
        try:
            for arrays in touched.values():
                for array in arrays.values():
                    array.flush()
            self._append(lines)
        except OSError as error:
            raise self._unwritable(error) from error
        for key, *place in lines:
            self._entries[key] = tuple(place)
            self._verified.discard(key)

    # === Inside ===

    def _check_about(self):
        path = self.folder / ABOUT
        try:
            check_plain_file(path)
            found = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return
        except (OSError, ValueError):
            found = None
        if found != self.about:
            raise InputError(
                f"{path} describes another cache than the one asked for, or is damaged; delete the "
                f"folder {self.folder} or choose another."
            )

    def _path(self, number, name):
        return self.folder / f"{number:04d}.{quote(name, safe='')}.npy"

    def _files(self):
        """Return the numbers of files that have at least one feature."""
        return sorted({int(path.name.partition(".")[0]) for path in self.folder.glob("[0-9]*.npy")})

    def _capacity(self, number):
        """Return how many entries the files hold; 0 if one is missing or truncated."""
        counts = set()
        for name in self.shapes:
            try:
                check_plain_file(self._path(number, name))
                counts.add(len(np.load(self._path(number, name), mmap_mode="r")))
            except (OSError, ValueError):
                return 0
        return counts.pop() if len(counts) == 1 else 0

    def _opened(self, number):
        if number not in self._maps:
            self._maps[number] = self._mapped(number, "r")
        return self._maps[number]

    def _mapped(self, number, mode):
        return {name: np.load(self._path(number, name), mmap_mode=mode) for name in self.shapes}

    def _match_files(self):
        """Drop entries of missing or truncated files; note the positions without an entry."""
        capacities = {number: self._capacity(number) for number in self._files()}
        for key, (number, slot, _) in list(self._entries.items()):
            if slot >= capacities.get(number, 0):
                del self._entries[key]
                self._dirty = True
        taken = {(number, slot) for number, slot, _ in self._entries.values()}
        every = [(number, slot) for number, held in capacities.items() for slot in range(held)]
        self._free = [place for place in every if place not in taken]

    def _tidy(self):
        remove_leftovers(self.folder, alone=True)
        for number in self._files():
            if not self._capacity(number):
                self._maps.pop(number, None)
                for name in self.shapes:
                    self._path(number, name).unlink(missing_ok=True)
        if not (self.folder / ABOUT).exists():
            with atomic_path(self.folder / ABOUT) as temporary:
                temporary.write_text(json.dumps(self.about, indent=1) + "\n", encoding="utf-8")
        if self._dirty:
            lines = [_line((key, *place)) for key, place in self._entries.items()]
            with atomic_path(self.folder / JOURNAL) as temporary:
                temporary.write_bytes(b"".join(lines))
            self._dirty = False

    def _unwritable(self, error):
        return InputError(
            f"The cache in {self.folder} cannot be written: {error.strerror}; free some space or "
            "choose another folder."
        )

    def _append(self, lines):
        with (self.folder / JOURNAL).open("ab") as file:
            file.write(b"".join(_line(line) for line in lines))
            file.flush()
            os.fsync(file.fileno())

    def _strike(self, key):
        self._entries.pop(key, None)
        # A reader without write access removes it only from its own memory.
        with contextlib.suppress(OSError):
            self._append([(key,)])
        self._dirty = True

    def __getstate__(self):
        # For the worker processes of a data set: each opens the files itself.
        return {**self.__dict__, "_maps": {}}


def free_bytes(folder):
    """Return the free bytes of the disk on which a folder lies or would lie."""
    folder = Path(folder).absolute()
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def _line(fields):
    return json.dumps(fields).encode() + b"\n"
