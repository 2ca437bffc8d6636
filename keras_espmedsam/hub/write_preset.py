"""Write a preset completely or not at all."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from keras_espmedsam._files import (
    PREFIX,
    atomic_folder,
    carry_over,
    check_writable,
    remove_leftovers,
)
from keras_espmedsam.errors import InputError
from keras_espmedsam.hub.built_in_presets import CARD_FILE
from keras_espmedsam.hub.checksums import write_checksums
from keras_espmedsam.hub.origins import (
    Origin,
    folder_name,
    origins_section,
    read_origins,
    write_origins,
)

_CARD = """\
# {name}

Trained with keras-espmedsam. The terms of what the weights were begun from hold for them, too.

{origins}
"""


def checked_output(output: str | os.PathLike) -> Path:
    """Check that an output folder is new or empty, and return it as a path.

    Half-written leftovers of a killed program, in it or beside it, are removed.

    Args:
        output: str or path. A folder that does not exist yet or is empty.

    Returns:
        `pathlib.Path`.

    Raises:
        InputError: when it is a file, a folder that is not empty, or cannot be written.

    Example:
        >>> import tempfile
        >>> checked_output(tempfile.mkdtemp()).is_dir()
        True
    """
    if not os.fspath(output):
        raise InputError("Received an empty path as output; give a folder for the preset.")
    output = Path(output)
    try:
        if output.is_dir():
            remove_leftovers(output)
            if any(output.iterdir()):
                raise InputError(
                    f"The output folder {output} is not empty, and nothing is overwritten; give "
                    "another folder, or empty it."
                )
        elif output.exists():
            raise InputError(f"The output {output} is a file; give a folder for the preset.")
        remove_leftovers(output.parent)
        check_writable(output.parent)
    except OSError as error:
        raise InputError(
            f"The output folder {output} cannot be written ({error.strerror or error}); give "
            "another folder."
        ) from error
    return output


@contextlib.contextmanager
def replaced_preset(folder: str | os.PathLike) -> Iterator[Path]:
    """Yield a temporary folder for a preset; then add its checksums and move it to `folder`.

    If the program is killed, `folder` is either the old one or the new one. Its other files stay,
    such as a README.

    Args:
        folder: str or path. It may hold an older preset, or not exist.

    Yields:
        `pathlib.Path`.

    Raises:
        InputError: when the folder cannot be written.
    """
    if not os.fspath(folder):
        raise InputError("Received an empty path; give a folder for the preset.")
    remove_leftovers(Path(folder).parent)
    try:
        with atomic_folder(folder, replace=True) as temporary:
            yield temporary
            carry_over(folder, temporary)
            write_checksums(temporary)
    except OSError as error:
        if any(part.startswith(PREFIX) for part in Path(folder).parts):
            raise  # It is inside a folder being written; whoever writes that reports its name.
        raise InputError(
            f"The preset cannot be written to {folder} ({error.strerror or error}); give a folder "
            "that can be written, on a disk with enough space."
        ) from error


@contextlib.contextmanager
def new_preset(output: Path, megabytes: float) -> Iterator[Path]:
    """Yield a temporary folder for a preset, and move it to `output` if the block succeeds.

    Args:
        output: `pathlib.Path` from `checked_output`.
        megabytes: size of the weights, for the message about a full disk.

    Yields:
        `pathlib.Path`.

    Raises:
        InputError: when the folder cannot be written.
    """
    try:
        with atomic_folder(output) as temporary:
            yield temporary
    except OSError as error:
        raise InputError(
            f"The preset cannot be written to {output} ({error.strerror or error}); give a folder "
            f"that can be written, on a disk with {1.1 * megabytes:.0f} MB free."
        ) from error


def write_own_origins(model: Any, folder: Path, saved_to: str | os.PathLike) -> None:
    """Write what a model's image encoder was begun from, when it is saved to a preset.

    Args:
        model: a task or a backbone.
        folder: the temporary folder, which holds the new preset.
        saved_to: the folder that it will replace. Origins that stand there stay, and a card, too.
    """
    own = _of_encoder(model)
    if not own:
        return
    origins = [*read_origins(saved_to), *own]
    if (Path(saved_to) / CARD_FILE).exists():
        write_origins(folder, origins)
    else:
        _write_card(folder, folder_name(saved_to), origins)


def _of_encoder(model: Any) -> Sequence[Origin]:
    encoder = getattr(getattr(model, "backbone", model), "image_encoder", None)
    return getattr(encoder, "origins", ())


def _write_card(folder: Path, name: str, origins: Sequence[Origin]) -> None:
    write_origins(folder, origins)
    card = _CARD.format(name=name, origins=origins_section(read_origins(folder)))
    (folder / CARD_FILE).write_text(card, encoding="utf-8", newline="\n")


def write_preset(segmenter: Any, output: Path, origins: Sequence[Origin] = ()) -> str:
    """Save a preset completely or not at all.

    Args:
        segmenter: `ESPMedSAMImageSegmenter`.
        output: `pathlib.Path` from `checked_output`.
        origins: what its weights were begun from, beside what its image encoder says. They go into
            the preset's `origins.json`, and into a card.

    Returns:
        str. A sentence that says what was written.

    Raises:
        InputError: when the folder cannot be written.
    """
    with new_preset(output, 4 * segmenter.count_params() / 1e6) as temporary:
        if all_origins := [*origins, *_of_encoder(segmenter)]:
            _write_card(temporary, folder_name(output), all_origins)
        segmenter.save_to_preset(temporary)
    return (
        f"Wrote the preset {output}: {', '.join(segmenter.modalities)}; "
        f"{segmenter.backbone.count_params():,} parameters."
    )
