"""The formats that a task can be exported to. Importing this needs neither Keras nor a runtime."""

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


# Names of version 0.1.0, from this module and from `export.runtimes`.
_TABLES = {
    "FORMATS": lambda one: one,
    "RUNTIMES": lambda one: one.load,
    "WRITERS": lambda one: one.write,
}


def __getattr__(name):
    if name in _TABLES:
        return {one.name: _TABLES[name](one) for one in all_formats()}
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
