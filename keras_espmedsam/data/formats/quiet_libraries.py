"""Silence the libraries that decode files, and disable Pillow's own pixel limit."""

import contextlib
import ctypes
import functools
import logging
import threading
import warnings

from PIL import Image

from keras_espmedsam.data.formats.known_formats import known_formats
from keras_espmedsam.errors import InputWarning


class _QuietLibraries:
    """Silence decoders, and disable Pillow's own pixel limit in favour of `max_pixels`.

    The process's stderr is not redirected, because messages of other threads, and those of a
    crash, would be lost.

    These settings are global, so the first thread that decodes changes them and the last one
    restores them; threads in between do not wait. Warnings of other code are hidden meanwhile.
    """

    def __init__(self):
        self.lock = threading.Lock()
        self.count = 0
        self.libtiff_is_silent = False

    def __enter__(self):
        with self.lock:
            self.count += 1
            if self.count > 1:
                return
            names = {name for one in known_formats() for name in one.loggers}
            self.restore = contextlib.ExitStack()
            self.restore.enter_context(warnings.catch_warnings())
            warnings.simplefilter("ignore")
            warnings.simplefilter("default", InputWarning)  # Those of this package stay visible.
            for logger in map(logging.getLogger, names):
                self.restore.callback(logger.setLevel, logger.level)
                logger.setLevel(logging.CRITICAL + 1)
            self.restore.callback(setattr, Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
            Image.MAX_IMAGE_PIXELS = None

    def silence_libtiff(self):
        """Silence libtiff too, inside the context; only Pillow's TIFF reader needs this."""
        with self.lock:
            if self.count and not self.libtiff_is_silent:
                self.libtiff_is_silent = True
                self.restore.callback(setattr, self, "libtiff_is_silent", False)
                for set_handler in _handlers_of_libtiff():
                    self.restore.callback(set_handler, set_handler(None))

    def __exit__(self, *error):
        with self.lock:
            self.count -= 1
            if not self.count:
                self.restore.close()


@functools.cache
def _handlers_of_libtiff():
    """Return the functions that set the message handlers of the libtiff inside Pillow.

    They belong to libtiff's public interface, and are looked up in Pillow's extension. If it does
    not export them (on Windows), libtiff's messages about damaged files are printed.
    """
    found = []
    for name in ("TIFFSetErrorHandler", "TIFFSetWarningHandler"):
        try:
            extension = Image.core.__file__  # type: ignore[attr-defined]  # it has no types
            function = getattr(ctypes.CDLL(extension), name)
        except (AttributeError, OSError):
            continue
        function.argtypes, function.restype = [ctypes.c_void_p], ctypes.c_void_p
        found.append(function)
    return found


quiet_libraries = _QuietLibraries()
"""The context to decode files in."""
