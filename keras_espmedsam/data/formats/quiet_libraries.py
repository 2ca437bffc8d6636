"""Keeping the libraries that decode files from printing, and from limits of their own."""

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
    """Keep decoders from printing, and Pillow's own pixel limit from acting before ours.

    Not by sending the process's stderr elsewhere: what other threads say would be lost with it, and
    the last words of a process that dies.

    All that is global. So the first thread that decodes changes it and the last one restores it,
    and the threads in between need not wait for each other. Warnings of other code are not shown
    meanwhile.
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
            warnings.simplefilter("default", InputWarning)  # ours, from the threads in between
            for logger in map(logging.getLogger, names):
                self.restore.callback(logger.setLevel, logger.level)
                logger.setLevel(logging.CRITICAL + 1)
            self.restore.callback(setattr, Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
            Image.MAX_IMAGE_PIXELS = None

    def silence_libtiff(self):
        """Within the context: keep libtiff from printing too, which Pillow alone asks to read."""
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
    """The functions that say what libtiff, within Pillow, calls with a message; it prints them.

    They belong to libtiff's public interface, and are found wherever Pillow's extension finds them.
    Where it does not show them (Windows), libtiff's messages on damaged files are printed.
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
"""Context in which files are decoded."""
