"""The formats that a task is exported to. Importing this imports neither Keras nor a runtime."""

from keras_espmedsam.export.formats.export_format import (
    EXTRA,
    PRECISIONS,
    ExportFormat,
    all_formats,
    check_installed,
    format_of,
    get_format,
)

__all__ = [
    "EXTRA",
    "PRECISIONS",
    "ExportFormat",
    "all_formats",
    "check_installed",
    "format_of",
    "get_format",
]


# Tables of version 0.1.0, of this module and of `export.runtimes`.
_TABLES = {
    "FORMATS": lambda one: one,
    "RUNTIMES": lambda one: one.load,
    "WRITERS": lambda one: one.write,
}


def __getattr__(name):
    if name in _TABLES:
        return {one.name: _TABLES[name](one) for one in all_formats()}
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
