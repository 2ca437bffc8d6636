"""Write files and folders completely or not at all, by one process at a time."""

from keras_espmedsam._files.atomic_files import atomic_path
from keras_espmedsam._files.atomic_folders import atomic_folder, carry_over
from keras_espmedsam._files.disk_space import check_space, check_writable
from keras_espmedsam._files.leftovers import remove_leftovers
from keras_espmedsam._files.locks import alone_in, locked
from keras_espmedsam._files.replaced_folders import replace_folder
from keras_espmedsam._files.temporary import PREFIX, writing_folder

__all__ = [
    "PREFIX",
    "alone_in",
    "atomic_folder",
    "atomic_path",
    "carry_over",
    "check_space",
    "check_writable",
    "locked",
    "remove_leftovers",
    "replace_folder",
    "writing_folder",
]
