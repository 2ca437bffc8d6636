"""Writing a preset so that it is whole or not there."""

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from keras_espmedsam._files import PREFIX
from keras_espmedsam.errors import InputError


def checked_output(output: str | os.PathLike) -> Path:
    """The output folder as a path, refused where something would be lost.

    Args:
        output: str or path. A folder that does not exist yet or is empty.

    Returns:
        `pathlib.Path`.

    Raises:
        InputError: when it is a file, or a folder that holds something.

    Example:
        >>> checked_output(tempfile.mkdtemp()).is_dir()
        True

    Source: ours.
    """
    output = Path(output)
    if output.is_dir():
        if any(output.iterdir()):
            raise InputError(
                f"The output folder {output} is not empty and nothing is overwritten; give "
                "another, or empty it."
            )
    elif output.exists():
        raise InputError(f"The output {output} is a file; give a folder for the preset.")
    return output


def write_preset(segmenter: Any, output: Path) -> str:
    """Save a preset to a temporary folder beside `output` and rename it when it is complete.

    Args:
        segmenter: `ESPMedSAMImageSegmenter`.
        output: `pathlib.Path`, as `checked_output` gives it.

    Returns:
        str. A sentence that says what was written.

    Raises:
        InputError: when the folder cannot be written.

    Source: ours.
    """
    temporary = None
    megabytes = 4 * segmenter.count_params() / 1e6
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=PREFIX, dir=output.parent))
        segmenter.save_to_preset(str(temporary))
        # mkdtemp makes folders that only their owner can enter; give what mkdir() would give.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o777 & ~umask)
        if output.is_dir():
            output.rmdir()  # Empty: checked_output() saw to it, and rmdir() refuses otherwise.
        os.replace(temporary, output)
    except OSError as error:
        raise InputError(
            f"The preset cannot be written to {output} ({error.strerror or error}); give a folder "
            f"that can be written, on a disk with {1.1 * megabytes:.0f} MB free."
        ) from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
    return (
        f"Wrote the preset {output}: {', '.join(segmenter.modalities)}; "
        f"{segmenter.backbone.count_params():,} parameters."
    )
