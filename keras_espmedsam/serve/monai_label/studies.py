"""A folder of images, with the labels that people and models make for them beside it."""

import contextlib
import dataclasses
import json
import os
import re
import secrets
import shutil
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from keras_espmedsam._files import atomic_path, check_writable
from keras_espmedsam._files.locks import open_to_lock, try_lock
from keras_espmedsam._shown import shown_value
from keras_espmedsam.data.formats.known_formats import image_suffixes
from keras_espmedsam.errors import InputError
from keras_espmedsam.serve.monai_label.stored_files import image_suffix, label_suffix
from keras_espmedsam.serve.problems import Problem

LABELS = "labels"
"""The folder of labels within that of the images; it has a folder for each tag."""
FINAL, ORIGINAL = "final", "original"
"""Tags of labels: made or corrected by a person, and as a model gave them."""
_INDEX = "datastore.json"
_TAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")
_NOT_PLAIN = re.compile(r"[^\w. +-]")
_LONGEST_ID = 200
_INFO_BYTES = 100_000
_SEVERAL_PARTS = (".nii.gz", ".seg.nrrd")


@dataclasses.dataclass
class StoredFile:
    """An image or a label in the folder.

    Args:
        path: the file.
        info: what clients said about it.
    """

    path: Path
    info: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def suffix(self) -> str:
        """Its suffix, such as `.nii.gz`."""
        return split_name(self.path.name)[1]


@dataclasses.dataclass
class StoredImage(StoredFile):
    """An image in the folder.

    Args:
        id: what it is called in requests and answers, which does not tell its file's name.
        labels: dict of tag to its label.
    """

    id: str = ""
    labels: dict[str, StoredFile] = dataclasses.field(default_factory=dict)

    @property
    def name(self) -> str:
        """A name with its suffix, by which viewers choose how to read it."""
        return f"{plain_name(self.id)}{self.suffix}"


class Studies:
    """The images of a folder, and their labels in `labels/TAG` within it.

    An image never changes. A label is named like its image and replaces the one before. Nothing
    outside the folder is read or written, also where links lead.

    Args:
        folder: the folder.
        max_pixels: the most pixels of an image that is added.

    Raises:
        InputError: when labels cannot be written to the folder, or another server uses it.
    """

    def __init__(self, folder: str | os.PathLike, max_pixels: int):
        self.folder = Path(os.path.realpath(folder))
        self._max_pixels = max_pixels
        self._lock = threading.RLock()
        self._labels = self.folder / LABELS
        try:
            self._labels.mkdir(exist_ok=True)
            self._check_inside(self._labels)
            check_writable(self._labels)
        except (OSError, Problem) as error:
            raise InputError(
                f"The studies {folder} cannot be used: labels cannot be written to {self._labels}. "
                "Give a folder of your own."
            ) from error
        self._handle = open_to_lock(self._labels)
        if self._handle is not None and try_lock(self._handle) is False:
            os.close(self._handle)
            raise InputError(
                f"Another server uses the studies {folder}; stop it, or give another folder."
            )
        try:
            self._index: dict[str, dict[str, Any]] = self._read_index()
        except InputError:
            self.close()
            raise

    def close(self) -> None:
        """Let another server use the folder."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def images(self) -> dict[str, StoredImage]:
        """Return the images that are there now, by their ids and in the order of their names."""
        with self._lock:
            names = self._image_names()
            known = {entry["file"]: id for id, entry in self._index.items()}
            for name in names:
                if name not in known:
                    known[name] = secrets.token_hex(8)
                    self._index[known[name]] = {"file": name, "info": {}, "labels": {}}
            if len(names) > 0 and not set(names) <= self._written:
                self._write_index()
            stems = Counter(split_name(name)[0] for name in names)
            by_tag = self._label_names()
            return {
                known[name]: self._image(known[name], stems[split_name(name)[0]] == 1, by_tag)
                for name in names
            }

    def image(self, id: str) -> StoredImage:
        """Return an image by its id.

        Raises:
            Problem: with status 404, when there is none.
        """
        found = self.images().get(id)
        if found is None:
            raise Problem(404, f"There is no image {shown_value(id)} in the studies.")
        return found

    def label(self, id: str, tag: str) -> StoredFile:
        """Return the label of an image.

        Raises:
            Problem: with status 404, when there is none.
        """
        found = self.image(id).labels.get(tag)
        if found is None:
            raise Problem(404, f"The image {shown_value(id)} has no label {shown_value(tag)}.")
        return found

    def add_image(self, id: str, source: Path, info: dict[str, Any]) -> str:
        """Add an image, under a name of the server's own.

        Args:
            id: what the client calls it; empty for an id of the server's.
            source: the file, which is copied.
            info: what is kept about it.

        Returns:
            The id.

        Raises:
            InputError: for a file that is no image, and an id or info that cannot be used.
            Problem: with status 409, when another image has the id.
        """
        suffix = image_suffix(source, self._max_pixels)
        if len(id) > _LONGEST_ID or not id.isprintable():
            raise InputError(
                f"Received the id {shown_value(id)} for an image; expected up to {_LONGEST_ID} "
                "printable characters."
            )
        info = {**_checked_info(info), "ts": int(time.time())}
        with self._lock:
            present = self.images()
            id = id or secrets.token_hex(8)
            if id in present:
                if _equal(present[id].path, source):
                    return id
                raise Problem(
                    409,
                    f"Another image has the id {shown_value(id)}, and images are never replaced; "
                    "give this one another name.",
                )
            name = f"{secrets.token_hex(8)}{suffix}"
            with _disk(), atomic_path(self.folder / name, suffix) as temporary:
                shutil.copyfile(source, temporary)
            self._index[id] = {"file": name, "info": info, "labels": {}}
            self._write_index()
        return id

    def save_label(self, id: str, tag: str, source: Path, info: dict[str, Any]) -> None:
        """Save the label of an image; one with the same tag is replaced.

        Args:
            id: the image's id.
            tag: the folder's name, such as `"final"`.
            source: the label's file, which is copied.
            info: what is kept about it.

        Raises:
            InputError: for a file that is no label, and a tag or info that cannot be used.
            Problem: with status 404, when there is no such image.
        """
        if not _TAG.fullmatch(tag):
            raise InputError(
                f"Received the tag {shown_value(tag)}; expected letters, digits, '_' and '-', such "
                f"as {FINAL}."
            )
        suffix = label_suffix(source, self._max_pixels)
        info = {**_checked_info(info), "ts": int(time.time())}
        with self._lock:
            image = self.image(id)
            stem = split_name(image.path.name)[0]
            shared = sum(split_name(name)[0] == stem for name in self._image_names()) > 1
            folder = self._labels / tag
            with _disk():
                folder.mkdir(exist_ok=True)
                self._check_inside(folder)
                path = folder / f"{image.path.name if shared else stem}{suffix}"
                with atomic_path(path, suffix) as temporary:
                    shutil.copyfile(source, temporary)
                before = image.labels.get(tag)
                if before is not None and before.path != path:  # Of another type.
                    before.path.unlink(missing_ok=True)
            self._index[id]["labels"][tag] = {"file": path.name, "info": info}
            self._write_index()

    def update_info(self, id: str, tag: str | None, info: dict[str, Any]) -> None:
        """Add to what is kept about an image or, with a tag, about its label.

        Raises:
            InputError: when it is too much.
            Problem: with status 404, when there is no such image or label.
        """
        with self._lock:
            stored = self.image(id) if tag is None else self.label(id, tag)
            new = _checked_info({**stored.info, **info})
            entry = self._index[id]
            if tag is None:
                entry["info"] = new
            else:
                entry["labels"][tag] = {"file": stored.path.name, "info": new}
            self._write_index()

    def _image(self, id, alone, by_tag):
        entry = self._index[id]
        name = entry["file"]
        image = StoredImage(self.folder / name, entry["info"], id)
        for tag, names in by_tag.items():
            said = entry["labels"].get(tag, {})
            found = said.get("file")
            if found not in names.values():
                # Made by another program, which names labels like images.
                found = names.get(split_name(name)[0] if alone else name)
                said = {}
            if found is not None:
                path = self._labels / tag / found
                image.labels[tag] = StoredFile(path, said.get("info", {}))
        return image

    def _image_names(self):
        suffixes = image_suffixes()
        with os.scandir(self.folder) as entries:
            return sorted(
                one.name
                for one in entries
                if not one.name.startswith(".")
                and one.name.lower().endswith(suffixes)
                and one.is_file()
                and (not one.is_symlink() or self._is_inside(Path(one.path)))
            )

    def _label_names(self):
        """Return dict of tag to dict of stem to the name of a label's file."""
        found: dict[str, dict[str, str]] = {}
        with os.scandir(self._labels) as tags:
            folders = sorted(one.name for one in tags if one.is_dir(follow_symlinks=False))
        for tag in filter(_TAG.fullmatch, folders):
            with os.scandir(self._labels / tag) as entries:
                names = sorted(
                    one.name
                    for one in entries
                    if not one.name.startswith(".") and one.is_file(follow_symlinks=False)
                )
            found[tag] = {split_name(name)[0]: name for name in names}
        return found

    def _is_inside(self, path):
        return Path(os.path.realpath(path)).is_relative_to(self.folder)

    def _check_inside(self, path):
        if not self._is_inside(path):
            raise Problem(
                403, "The folder of these labels is a link that leads out of the studies."
            )

    def _read_index(self):
        self._written: set[str] = set()
        path = self._labels / _INDEX
        if not path.exists():
            return {}
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            images = content["images"]
            for entry in images.values():
                assert {type(entry["file"]), type(entry["info"]), type(entry["labels"])} <= {
                    str,
                    dict,
                }
        except (OSError, ValueError, LookupError, TypeError, AttributeError, AssertionError):
            raise InputError(
                f"{path} cannot be read as the list of images that a server wrote; move it away, "
                "and images get new ids."
            ) from None
        self._written = {entry["file"] for entry in images.values()}
        return images

    def _write_index(self):
        content = {"version": 1, "images": self._index}
        with _disk(), atomic_path(self._labels / _INDEX) as temporary:
            temporary.write_text(json.dumps(content, indent=1), encoding="utf-8")
        self._written = {entry["file"] for entry in self._index.values()}


def plain_name(id: str) -> str:
    """Return an id that a client chose, as a name that is no path where another client saves it.

    Args:
        id: the id.

    Example:
        >>> plain_name("2: ../DOE")
        '2_ .._DOE'
        >>> plain_name("../DOE")
        '_.._DOE'
    """
    name = _NOT_PLAIN.sub("_", id)
    return f"_{name}" if name.startswith(".") else name


@contextlib.contextmanager
def _disk() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        sentence = "The server cannot write to its studies; its disk may be full."
        raise Problem(503, sentence, {"Retry-After": "10"}) from error


def split_name(name: str) -> tuple[str, str]:
    """Return the stem and the suffix of a file's name.

    Args:
        name: the name.

    Example:
        >>> split_name("brain.nii.gz"), split_name("LICENSE")
        (('brain', '.nii.gz'), ('LICENSE', ''))
    """
    for suffix in _SEVERAL_PARTS:
        if name.lower().endswith(suffix):
            return name[: -len(suffix)], name[-len(suffix) :]
    stem, point, suffix = name.rpartition(".")
    return (stem, f".{suffix}") if point else (name, "")


def _checked_info(info):
    if len(json.dumps(info)) > _INFO_BYTES:
        raise InputError(
            f"Received more than {_INFO_BYTES:,} bytes to keep about an image or a label; send "
            "less."
        )
    return info


def _equal(first, second):
    if first.stat().st_size != second.stat().st_size:
        return False
    with first.open("rb") as one, second.open("rb") as other:
        while chunk := one.read(1 << 20):
            if chunk != other.read(1 << 20):
                return False
    return True
