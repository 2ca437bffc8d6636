"""The page for browsers within the documentation, if it was made before."""

import os
import shutil
from pathlib import Path

FOLDER = "ESPMEDSAM_WEB_SITE"
"""The environment variable with the folder that `espmedsam export --format web` wrote."""


def copy_page(documentation: Path) -> bool:
    """Copy the page to `try/` of the documentation, and return whether there is one.

    It is not made here, because that takes Node.js and minutes.

    Args:
        documentation: the folder of the built documentation.
    """
    given = os.environ.get(FOLDER)
    if not given:
        return False
    if not (Path(given) / "models.json").is_file():
        raise FileNotFoundError(
            f"{FOLDER} names {given}, which `espmedsam export --format web` did not write."
        )
    shutil.copytree(given, documentation / "try", dirs_exist_ok=True)
    return True
